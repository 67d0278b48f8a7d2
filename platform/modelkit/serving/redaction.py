"""Takes out of a request what may not be written down: whole inputs, named fields, and patterns inside texts.

Light, and run before a sample touches the disk. Patterns read ASCII spellings; what they hide wrongly (an order number
that looks like a phone number) is the price of never keeping what they should hide.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from modelkit.serving.plan import Sampling

HIDDEN = "[hidden]"
#: A longer text is cut. What the cut leaves of an address or a number is shorter than the edge, and goes with it.
MAX_TEXT_CHARS = 10_000
_EDGE_CHARS = 128
MAX_SAMPLE_CHARS = 64_000

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_CARD = re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)")
_PHONE = re.compile(r"(?<![\dA-Za-z])(?:\+|\()?\d[\d ().\-/]{5,18}\d(?!\d)")
#: What a text must hold for a pattern to be worth looking for; most hold neither.
_AT, _DIGIT = re.compile("@"), re.compile(r"\d")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{4}")


def _card(match: re.Match[str]) -> str:
    """Only what passes the check digit of ISO/IEC 7812 (Luhn)."""
    digits = [int(char) for char in match[0] if char.isdecimal()]
    doubled = [d if i % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for i, d in enumerate(reversed(digits))]
    return match[0] if sum(doubled) % 10 else "[card]"


def _phone(match: re.Match[str]) -> str:
    digits = sum(char.isdecimal() for char in match[0])
    return match[0] if not 7 <= digits <= 15 or _DATE.fullmatch(match[0].strip()) else "[phone]"


#: In the order in which they are applied: a card number looks like a phone number, too.
_PATTERNS: dict[str, tuple[re.Pattern[str], re.Pattern[str], str | Callable[[re.Match[str]], str]]] = {
    "email": (_AT, _EMAIL, "[email]"),
    "card": (_DIGIT, _CARD, _card),
    "phone": (_DIGIT, _PHONE, _phone),
}


class Redactor:
    """One endpoint's rules."""

    def __init__(self, sampling: Sampling) -> None:
        self._hide_inputs = sampling.hide_inputs
        self._patterns = [rule for name, rule in _PATTERNS.items() if name in sampling.patterns]
        self._fields = [tuple(name.casefold().split(".")) for name in sampling.hide_fields]

    def inputs(self, values: list[Any]) -> list[Any]:
        """As many of the inputs as a sample may hold, in their order, without what must not be kept."""
        if self._hide_inputs:
            return []
        kept: list[Any] = []
        chars = 0
        for value in values:
            clean, length = self._clean(value, ())
            chars += length
            if chars > MAX_SAMPLE_CHARS:
                break
            kept.append(clean)
        return kept

    def outputs(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """A model may repeat its input: the same rules for all but the label, which is the model's own word."""
        return [
            {
                name: value if name in ("label", "scores") else self._clean(value, (name,))[0]
                for name, value in row.items()
            }
            for row in rows
        ]

    def text(self, text: str) -> str:
        # PostgreSQL stores no NUL.
        text = text.replace("\0", "\ufffd")
        cut = len(text) > MAX_TEXT_CHARS
        if cut:
            text = text[:MAX_TEXT_CHARS]
        for sign, pattern, replacement in self._patterns:
            if sign.search(text) is not None:
                text = pattern.sub(replacement, text)
        return text[:-_EDGE_CHARS] + "…" if cut else text

    def _clean(self, value: Any, path: tuple[str, ...]) -> tuple[Any, int]:
        """The value without what is hidden, and how many characters it holds."""
        if isinstance(value, str):
            text = self.text(value)
            return text, len(text)
        if isinstance(value, list):
            items = [self._clean(item, path) for item in value]
            return [item for item, _ in items], 2 + sum(length for _, length in items)
        if isinstance(value, dict):
            clean, chars = {}, 2
            for name, item in value.items():
                here = (*path, name.casefold())
                inside, length = (HIDDEN, 8) if self._hides(here) else self._clean(item, here)
                clean[self.text(name)] = inside
                chars += len(name) + length
            return clean, chars
        return value, 8

    def _hides(self, path: tuple[str, ...]) -> bool:
        """A name hides every field whose path ends with it: `name` everywhere, `customer.name` inside a customer."""
        return any(path[-len(name) :] == name for name in self._fields)
