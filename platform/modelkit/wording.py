"""Sentences for people that remember how they were made, so that whoever shows one can say it in the reader's language.

A sentence is written in English where something happens, kept as template and parameters, and worded again where it is
read. This file knows English only; `apps.core.wording` knows the translations. Light.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

#: A text put into a sentence, such as a library's own message, is cut after so many characters.
TEXT_LIMIT = 500


class Said(str):
    """English by value; `template` and `params` are what it was made of. A sentence may be a parameter of another."""

    template: str
    params: Mapping[str, Any]

    def __new__(cls, template: str, params: Mapping[str, Any] | None = None) -> Said:
        known = {name: _param(value) for name, value in (params or {}).items() if f"{{{name}" in template}
        said = super().__new__(cls, fill(template, known))
        said.template, said.params = str(template), known
        return said


def say(template: str, /, **params: Any) -> Said:
    """`template` with its `{names}` filled in; without parameters it is taken as it stands, braces and all.

    The template must be a literal: the catalog of translations is gathered from the calls. What is a sentence already
    stays as it is.
    """
    return template if isinstance(template, Said) else Said(template, params)


def both(first: str, second: str) -> str:
    """Two sentences as one text."""
    return say("{first} {second}", first=first, second=second) if first and second else first or second


def said_by(error: BaseException) -> str:
    """What an exception says: the sentence that it was raised with, else its text, else its type."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, Said) else str(error) or type(error).__name__


def fill(template: str, params: Mapping[str, Any]) -> str:
    """The sentence; one that does not fit its parameters (an edited file, a wrong translation) is shown unfilled."""
    try:
        return template.format(**params) if params else template
    except (LookupError, ValueError, AttributeError):
        return template


def pack(value: Any) -> Any:
    """A JSON value in which every sentence is an object `{"say", "with"}`; other texts stay as they are."""
    if isinstance(value, Said):
        return {"say": value.template, "with": pack(value.params)}
    if isinstance(value, Mapping):
        return {name: pack(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item) for item in value]
    return value


def unpack(value: Any) -> Any:
    """The reverse of `pack`: an object that is a sentence becomes one, at any depth."""
    if isinstance(value, Mapping):
        if value.keys() == {"say", "with"} and isinstance(value["with"], Mapping):
            return Said(str(value["say"]), unpack(value["with"]))
        return {name: unpack(item) for name, item in value.items()}
    return [unpack(item) for item in value] if isinstance(value, list) else value


def _param(value: Any) -> Any:
    if isinstance(value, Said):
        return value
    # JSON knows neither NumPy's numbers nor those that are none.
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return float(value)
    return str(value)[:TEXT_LIMIT]


#: A text in a pydantic model that stays a sentence on its way through JSON.
Sentence = Annotated[str, PlainValidator(lambda value: _text(unpack(value))), PlainSerializer(pack)]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value
