"""Write the API's OpenAPI document to `docs/reference/openapi.json`; with `--check`, only say whether it is up to date.

A change of the document is a change of the API: it is reviewed with the code that made it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "reference" / "openapi.json"


def document() -> str:
    """The document as it is committed: sorted, so that a difference is a difference of the API."""
    sys.path[:0] = [str(ROOT)]
    sys.path.append(str(ROOT / "platform"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tuneyard.settings")
    import django

    django.setup()
    from tuneyard.api import api

    schema = json.loads(json.dumps(api.get_openapi_schema(path_prefix="/api/v1/"), default=str))  # keys become text
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = document()
    if options.check:
        if TARGET.read_text() == text:
            return 0
        print(f"{TARGET.relative_to(ROOT)} is out of date: run python scripts/openapi.py")
        return 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
