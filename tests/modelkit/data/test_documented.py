"""The reference names every check, fix and reason of rejection, and none that is gone."""

from __future__ import annotations

import re
from pathlib import Path

from modelkit.data.options import FIXES

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "reference" / "dataset-checks.md").read_text(encoding="utf-8")
SOURCES = [*(ROOT / "platform" / "modelkit" / "data").glob("*.py"), ROOT / "apps" / "datasets" / "validation.py"]


def _found(pattern: str) -> set[str]:
    return {code for path in SOURCES for code in re.findall(pattern, path.read_text(encoding="utf-8"))}


def test_every_fix_and_check_is_documented() -> None:
    checks = _found(r'(?:Check|_met)\(\s*"([a-z_]+)"')
    assert len(checks) == 13
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE))
    assert checks <= documented
    assert {fix for fix in FIXES if f"`{fix}`" not in PAGE} == set()


def test_every_reason_is_documented() -> None:
    reasons = _found(r'UserError\(\s*"([a-z_]+)"') | _found(r'"code": "([a-z_]+)"')
    reasons |= _found(r'_reject\(\s*version,\s*"([a-z_]+)"')
    assert len(reasons) > 20
    assert {code for code in reasons if f"`{code}`" not in PAGE} == {"unknown_fix"}
