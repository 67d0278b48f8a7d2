"""Every error code that the code can answer is in the reference, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.conftest import ROOT

REFERENCE = ROOT / "docs" / "reference" / "errors.md"
_CODE = re.compile(r"^[a-z][a-z_]*[a-z]$")
#: Calls whose keyword `code`, or whose first argument, is an error's code.
_BY_KEYWORD = {"AppError", "Invalid", "NotFound", "Conflict", "Forbidden", "Unavailable", "TooLarge"}
_BY_POSITION = {"UserError"}


def codes() -> Iterator[tuple[str, str]]:
    """Code and file of every error that is raised."""
    for folder in ("apps", "workers", "platform"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield from ((code, str(path.relative_to(ROOT))) for code in _of_call(node))
                elif isinstance(node, ast.ClassDef) and any(_name(base).endswith("Error") for base in node.bases):
                    for statement in node.body:
                        if isinstance(statement, ast.Assign) and _name(statement.targets[0]) == "code":
                            yield from ((code, str(path.relative_to(ROOT))) for code in _text(statement.value))


def _of_call(node: ast.Call) -> Iterator[str]:
    called = _name(node.func)
    if called in _BY_POSITION and node.args:
        yield from _text(node.args[0])
    if called in _BY_KEYWORD:
        for keyword in node.keywords:
            if keyword.arg == "code":
                yield from _text(keyword.value)


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _text(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.match(node.value):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _text(node.body)
        yield from _text(node.orelse)


def documented() -> set[str]:
    return set(re.findall(r"^\| `([a-z_]+)` \|", REFERENCE.read_text(), re.MULTILINE))


def test_every_code_has_its_line() -> None:
    found: dict[str, str] = {}
    for code, path in codes():
        found.setdefault(code, path)
    assert {"in_use", "pickle_weights", "not_found", "unauthenticated"} <= found.keys()
    missing = {code: path for code, path in sorted(found.items()) if code not in documented()}
    assert not missing, f"add to docs/reference/errors.md: {missing}"


def test_no_line_is_about_a_code_that_is_gone() -> None:
    from apps.core.errors import CODES

    known = {code for code, _path in codes()} | set(CODES.values())
    # Kept by the job that failed, not raised by name.
    files = [path for folder in ("apps", "workers", "platform") for path in (ROOT / folder).rglob("*.py")]
    text = "\n".join(path.read_text() for path in files)
    stale = {code for code in documented() - known if f'"{code}"' not in text}
    assert not stale
