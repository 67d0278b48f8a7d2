"""What a user may declare about a file, and the fixes that a version may carry. Light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

#: Encodings that may be declared, by the name shown. Values are Python codecs; aliases are in `encoding_named`.
ENCODINGS: dict[str, str] = {
    "utf-8": "UTF-8",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16 little endian",
    "utf-16-be": "UTF-16 big endian",
    "gb18030": "GB18030 (GBK, GB2312)",
    "big5": "Big5",
    "cp1252": "Windows-1252",
    "latin-1": "Latin-1 (ISO 8859-1)",
    "cp1251": "Windows-1251 (Cyrillic)",
    "shift_jis": "Shift JIS",
    "euc-kr": "EUC-KR",
}

_ALIASES = {
    "utf8": "utf-8",
    "utf-8-sig": "utf-8",
    "utf16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "ascii": "utf-8",
    "us-ascii": "utf-8",
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "cp936": "gb18030",
    "big5-hkscs": "big5",
    "cp950": "big5",
    "windows-1252": "cp1252",
    "latin1": "latin-1",
    "iso-8859-1": "latin-1",
    "iso8859-1": "latin-1",
    "windows-1251": "cp1251",
    "shift-jis": "shift_jis",
    "sjis": "shift_jis",
    "cp932": "shift_jis",
    "euckr": "euc-kr",
}

#: Delimiters that may be declared, with the name shown.
DELIMITERS: dict[str, str] = {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}
_DELIMITER_NAMES = {name: char for char, name in DELIMITERS.items()} | {"\\t": "\t"}

Part = Literal["all", "train", "validation", "test"]
SPLITS = ("train", "validation", "test")


def encoding_named(name: str) -> str:
    """The codec for what a user wrote ("GBK", "utf8", "Windows-1252"); raises ValueError listing what is known."""
    plain = name.strip().lower().replace("_", "-")
    plain = {"shift-jis": "shift_jis"}.get(plain, plain)
    found = _ALIASES.get(plain, plain)
    if found not in ENCODINGS:
        raise ValueError(f"unknown encoding {name!r}; known are {', '.join(ENCODINGS)}")
    return found


class ReadOptions(BaseModel):
    """What the user declares about a file; what is None is detected.

    `labels` names the classes that the file writes as numbers or codes: a list (0 is its first) or a mapping.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    labels: list[str] | dict[str, str] | None = Field(default=None)

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        return encoding_named(value) if value else None

    @field_validator("delimiter")
    @classmethod
    def _known_delimiter(cls, value: str | None) -> str | None:
        if not value:
            return None
        char = _DELIMITER_NAMES.get(value.strip().lower(), value)
        if char not in DELIMITERS:
            raise ValueError(f"unknown delimiter {value!r}; use one of {', '.join(DELIMITERS.values())}")
        return char

    @field_validator("labels")
    @classmethod
    def _some_labels(cls, value: list[str] | dict[str, str] | None) -> list[str] | dict[str, str] | None:
        if not value:
            return None
        names = value if isinstance(value, list) else list(value.values())
        if any(not name.strip() for name in names):
            raise ValueError("a class name is empty")
        if isinstance(value, list) and len(set(names)) != len(names):
            raise ValueError("two class names are the same")
        return value

    def label_names(self) -> dict[str, str]:
        """File value -> class name; empty when the file's own values are the names."""
        if self.labels is None:
            return {}
        if isinstance(self.labels, list):
            return {str(number): name.strip() for number, name in enumerate(self.labels)}
        return {key.strip(): name.strip() for key, name in self.labels.items()}


@dataclass(frozen=True)
class Fix:
    """A change to the rows that makes a new version."""

    code: str
    title: str
    help: str


FIXES: dict[str, Fix] = {
    fix.code: fix
    for fix in (
        Fix("drop_duplicates", "Drop duplicates", "Keep the first of rows with the same text and class in a split."),
        Fix("drop_conflicts", "Drop conflicting rows", "Drop every row whose text carries more than one class."),
        Fix("drop_leaks", "Drop leaked rows", "Drop rows of train whose text is in validation or test."),
        Fix("drop_empty_rows", "Drop empty rows", "Drop rows without text."),
        Fix("drop_rare_classes", "Drop rare classes", "Drop every class with fewer rows than a class needs."),
        Fix("drop_long_rows", "Drop long rows", "Drop rows longer than a text encoder reads."),
        Fix("drop_ragged_rows", "Drop ragged rows", "Drop rows with more or fewer cells than the header."),
        Fix("join_spilled_cells", "Join spilled cells", "Append what stands in unnamed columns to the text before it."),
        Fix("repair_encoding", "Repair characters", "Undo a wrong conversion such as å£ for £."),
    )
}
