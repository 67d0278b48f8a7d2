"""The documentation does not lie: links lead somewhere, the reference is fresh, every method has its page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from modelkit import catalog

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_the_reference_of_tasks_is_what_the_code_says() -> None:
    result = subprocess.run([sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"], check=False)
    assert result.returncode == 0, "run `make docs`"


def test_every_verb_the_readme_names_is_in_the_makefile() -> None:
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    verbs = {verb for line in re.findall(r"(?:`|\$ )make ([a-z-]+(?: [a-z-]+)*)", text) for verb in line.split()}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert verbs
    assert verbs <= targets


def test_every_task_and_method_has_a_readme() -> None:
    for kind, names in (("tasks", catalog.tasks()), ("compression", catalog.methods())):
        for name in names:
            assert (ROOT / "platform" / "modelkit" / kind / name / "README.md").is_file(), name


def test_every_decision_has_a_number_of_its_own_and_is_listed() -> None:
    records = sorted(path.name for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))
    numbers = [name.partition("-")[0] for name in records]
    assert len(numbers) == len(set(numbers))
    index = (ROOT / "docs" / "adr" / "README.md").read_text()
    assert [name for name in records if f"({name})" not in index] == []
