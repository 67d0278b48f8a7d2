"""`docs/reference/settings.md` names every variable that the code reads, and no other."""

from __future__ import annotations

import re

from tests.architecture.conftest import ROOT

_READERS = re.compile(
    r"(?:env\.(?:text|boolean|integer|folder|paths|items|secret|storage|url|email)\("
    r"|environ\.get\(|environ\[|in os\.environ|getenv\()"
)
_NAMED = re.compile(
    r"\"((?:TUNEYARD_[A-Z_]+)|DATABASE_URL|REDIS_URL|STORAGE_URL|MLFLOW_TRACKING_URI|EMAIL_URL|HF_ENDPOINT|HF_TOKEN)\""
)
#: How processes of one instance recognise each other; nobody sets it.
INNER = {"TUNEYARD_INSTANCE"}


def test_the_page_and_the_code_name_the_same_variables() -> None:
    read: set[str] = set()
    for folder in ("platform", "apps", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = [line for line in path.read_text().splitlines() if _READERS.search(line)]
            read.update(name for line in lines for name in _NAMED.findall(line))
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    documented = set(re.findall(r"^\| `([A-Z_]+)`", page, re.M)) - {"NO_COLOR"}
    assert len(read) > 15
    assert documented == read - INNER
