"""The Chinese catalog: nothing is left in English, and no placeholder is lost on the way."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import polib
import pytest

ROOT = Path(__file__).resolve().parents[2]
CATALOG = ROOT / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
PLACEHOLDER = re.compile(r"%\([a-zA-Z_0-9]+\)[.\d]*[sdf]|\{[a-z_]+(?:![rs])?(?::[^{}\"]+)?\}")


def entries() -> list[polib.POEntry]:
    return [entry for entry in polib.pofile(str(CATALOG)) if not entry.obsolete]


def said(entry: polib.POEntry) -> list[str]:
    return list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]


def test_every_message_is_translated() -> None:
    missing = [entry.msgid for entry in entries() if entry.fuzzy or not all(said(entry))]
    assert missing == []


def test_every_placeholder_is_kept() -> None:
    wrong = [
        (entry.msgid, text)
        for entry in entries()
        for text in said(entry)
        if set(PLACEHOLDER.findall(text)) != set(PLACEHOLDER.findall(entry.msgid_plural or entry.msgid))
    ]
    assert wrong == []


@pytest.fixture(scope="module")
def messages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("messages", ROOT / "scripts" / "messages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_text_of_a_spec_is_in_the_catalog(messages: ModuleType) -> None:
    known = {entry.msgid for entry in entries()}
    assert [text for text, place in messages.spec_messages() if text not in known and "/toy_" not in place] == []


def test_every_stored_sentence_is_in_the_catalog(messages: ModuleType) -> None:
    known = {entry.msgid for entry in entries()}
    found = list(messages.sentences())
    assert any(text == "{folder} has no config.json." for text, _ in found)
    assert [(text, place) for text, place in found if text not in known] == []


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ('raise UserError("x", f"{name} is missing.")', "f-string"),
        ('text = f"{name} is missing."\nsay(text)', "f-string"),
        ('say("{name} is missing.", what=name)', "given are"),
        ('say("{name} is missing.")', "given are"),
        ('reporter.notice("x", "Something happened.")', "wrap the text"),
        ('job_finish(job, reason="Something happened.")', "wrap the text"),
    ],
)
def test_a_sentence_that_could_not_be_translated_is_refused(messages: ModuleType, code: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        messages.Sentences(ast.parse(code), "file.py")


def test_templates_are_found_through_choices_and_names(messages: ModuleType) -> None:
    code = '_HINT = "Try {what}."\nUserError("x", "One." if a else "Two.", _HINT, field="f", what=b)'
    assert messages.Sentences(ast.parse(code), "file.py").found == ["One.", "Two.", "Try {what}."]


def test_the_gatherer_knows_every_name_by_which_code_asks_for_a_translation() -> None:
    """xgettext knows `_` and Django's own names; texts inside any other are gathered by nobody."""
    renamed = re.compile(r"import [^\n]*\bn?p?gettext\w* as (?!_\b)\w+")
    files = [path for folder in ("apps", "platform", "workers") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    assert [str(path) for path in files if renamed.search(path.read_text())] == []


def test_every_text_of_code_and_templates_is_in_the_catalog(tmp_path: Path) -> None:
    """Gathers anew into an empty catalog, beside the committed one."""
    if shutil.which("xgettext") is None:
        pytest.skip("gettext is not installed")
    for name in ("apps", "platform", "templates", "workers", "manage.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "locale").mkdir()
    command = [sys.executable, "manage.py", "makemessages", "-l", "zh_Hans", "--symlinks", "--no-wrap"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = polib.pofile(str(tmp_path / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"))
    known = {entry.msgid for entry in entries()}
    assert [entry.msgid for entry in found if entry.msgid not in known] == []
