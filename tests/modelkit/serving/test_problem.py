"""Every refusal of the serving port carries a remedy, also those that no test provokes."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkit.serving import front
from modelkit.serving.front import problem
from modelkit.serving.front.problem import Problem

#: Who makes a problem, and which argument is the remedy.
MAKERS = {"Problem": 3, "invalid": 2, "unavailable": 2}


def made(source: str) -> Iterator[tuple[str, ast.expr | None]]:
    """Each call that makes a problem, with the expression of its remedy."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in MAKERS:
            named = {word.arg: word.value for word in node.keywords}
            place = MAKERS[name]
            yield ast.unparse(node), node.args[place] if len(node.args) > place else named.get("hint")


def lacking(source: str) -> list[str]:
    """The calls whose remedy is left out, or is nothing but an empty text."""
    return [call for call, hint in made(source) if hint is None or (isinstance(hint, ast.Constant) and not hint.value)]


def test_no_refusal_is_made_without_a_remedy() -> None:
    sources = [path.read_text() for path in Path(str(front.__file__)).parent.glob("*.py")]
    assert sum(len(list(made(source))) for source in sources) > 40
    assert [call for source in sources for call in lacking(source)] == []


@pytest.mark.parametrize(
    "call", ['Problem(413, "a", "b")', 'problem.Problem(413, "a", "b", "")', 'unavailable("a", "b", hint="")']
)
def test_the_search_would_find_one(call: str) -> None:
    assert lacking(call)


def test_what_is_made_beforehand_has_one() -> None:
    ready = [value for value in vars(problem).values() if isinstance(value, Problem)]
    ready += [problem.body_too_large(1), problem.method_not_allowed("GET"), problem.other_endpoint("a")]
    assert len(ready) > 10
    assert all(one.hint for one in ready)


def test_the_remedy_cannot_be_forgotten() -> None:
    assert inspect.signature(Problem).parameters["hint"].default is inspect.Parameter.empty
