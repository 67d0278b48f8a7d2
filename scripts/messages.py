#!/usr/bin/env python3
"""Compile every `locale/*/LC_MESSAGES/*.po` to its `.mo` with polib, where the machine has no gettext."""

from pathlib import Path

import polib

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    for po in sorted(ROOT.glob("locale/*/LC_MESSAGES/*.po")):
        polib.pofile(str(po)).save_as_mofile(str(po.with_suffix(".mo")))


if __name__ == "__main__":
    main()
