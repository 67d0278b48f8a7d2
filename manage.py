#!/usr/bin/env python3
"""Django's command line for Tuneyard; also works in a bare clone, where nothing has put `platform/` on the path."""

import os
import sys
from pathlib import Path


def main() -> None:
    # Appended, never inserted: `platform/` must not come before the standard library.
    sys.path.append(str(Path(__file__).resolve().parent / "platform"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tuneyard.settings")

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
