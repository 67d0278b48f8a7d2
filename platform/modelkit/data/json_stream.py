"""JSON objects out of a large file, one at a time. Light.

An array `[{...}, ...]`, an object whose one list holds the rows (`{"data": [...]}`), or JSON Lines. Memory is bounded
by the largest single object, which is itself bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from modelkit.errors import UserError
from modelkit.wording import say

BLOCK = 1 << 16
#: Longest single object or line, in characters.
OBJECT_LIMIT = 16_000_000

_SPACE = " \t\r\n"
_REMEDY = "Check the file with a JSON validator, or save it as CSV or JSON Lines."


class _Stream:
    """A window over a text file that grows on demand and knows its line."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._decoder = json.JSONDecoder()
        self.buffer = ""
        self.at = 0
        self.line = 1

    def grow(self) -> bool:
        """Read another block; False at the end of the file."""
        block = self._file.read(max(BLOCK, len(self.buffer) - self.at))
        self.buffer = self.buffer[self.at :] + block
        self.at = 0
        if len(self.buffer) > OBJECT_LIMIT:
            raise UserError(
                "cell_too_large",
                "An object near line {line} is longer than {limit:,} characters.",
                "Shorten it, or split it into several rows.",
                field="file",
                line=self.line,
                limit=OBJECT_LIMIT,
            )
        return bool(block)

    def advance(self, to: int) -> None:
        self.line += self.buffer.count("\n", self.at, to)
        self.at = to

    def peek(self) -> str:
        """The next character that is not white space, or an empty string at the end."""
        while True:
            end = self.at
            while end < len(self.buffer) and self.buffer[end] in _SPACE:
                end += 1
            self.advance(end)
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self.grow():
                return ""

    def take(self, char: str) -> None:
        if self.peek() != char:
            raise self.malformed(say("expected {char!r}", char=char))
        self.advance(self.at + 1)

    def value(self) -> Any:
        """The next whole JSON value."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self.buffer, self.at)
            except json.JSONDecodeError as error:
                if self.grow():
                    continue
                raise self.malformed(
                    error.msg[:1].lower() + error.msg[1:], self.line + self.buffer.count("\n", self.at, error.pos)
                ) from None
            except RecursionError:
                raise self.malformed(say("it is nested too deeply")) from None
            # A number at the end of the buffer may go on in the next block.
            if end == len(self.buffer) and not isinstance(value, dict | list | str) and self.grow():
                continue
            self.advance(end)
            return value

    def malformed(self, what: str, line: int | None = None) -> UserError:
        return UserError(
            "malformed_json", "Line {line}: {what}.", _REMEDY, field="file", line=line or self.line, what=what
        )


def _elements(stream: _Stream) -> Iterator[tuple[int, Any]]:
    stream.take("[")
    if stream.peek() == "]":
        stream.take("]")
        return
    while True:
        stream.peek()
        line = stream.line
        yield line, stream.value()
        if stream.peek() == ",":
            stream.take(",")
            continue
        stream.take("]")
        return


def read_array(file: TextIO) -> Iterator[tuple[int, Any]]:
    """Line and value of each element of the file's array, or of the first array inside its object."""
    stream = _Stream(file)
    if stream.peek() == "[":
        yield from _elements(stream)
    else:
        stream.take("{")
        while stream.peek() == '"':
            stream.value()
            stream.take(":")
            if stream.peek() == "[":
                yield from _elements(stream)
                return
            stream.value()
            if stream.peek() == ",":
                stream.take(",")
        raise UserError(
            "not_a_table",
            "The JSON object holds no list of rows.",
            'Upload an array of objects, or {"data": [...]}.',
            field="file",
        )
    if stream.peek():
        raise stream.malformed(say("something follows the end of the array"))


def flat(value: Any) -> str:
    """A JSON value as the text of a cell."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
