"""Stored sentences in the reader's language: `told` for what a row or a file holds, `SentenceField` to hold one.

Write with `modelkit.wording.say`, read through `told`. What was stored before there were sentences, and what people
wrote themselves, is shown as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.db import models
from django.utils.translation import gettext

from modelkit.wording import Said, fill, pack, unpack


def told(value: Any) -> Any:
    """`value`, of whatever JSON shape, with each sentence worded in the language now active."""
    if isinstance(value, Said):
        # gettext answers its own header to an empty message.
        return fill(gettext(value.template), told(value.params)) if value.template else ""
    if isinstance(value, Mapping):
        known = unpack(value)
        return told(known) if isinstance(known, Said) else {name: told(item) for name, item in value.items()}
    return [told(item) for item in value] if isinstance(value, list | tuple) else value


class SentenceField(models.TextField):  # type: ignore[type-arg] # has no arguments at run time
    """A text that remains a sentence: kept as JSON `{"say", "with"}`, any other text as it is."""

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, Said):
            # PostgreSQL refuses NUL; JSON escapes it, and the escape is what is dropped here.
            return json.dumps(pack(value), ensure_ascii=False).replace("\\u0000", "\ufffd")
        prepared = super().get_prep_value(value)
        return prepared.replace("\x00", "\ufffd") if isinstance(prepared, str) else prepared

    def from_db_value(self, value: str | None, *_: object) -> str | None:
        if value is None or not value.startswith('{"say":'):
            return value
        try:
            said = unpack(json.loads(value))
        except ValueError:
            return value
        return said if isinstance(said, Said) else value
