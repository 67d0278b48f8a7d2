"""Which encoding a file is in, and where it breaks. Light; reads a file in blocks, never whole.

Order: byte order mark, UTF-16 by the place of its zero bytes, UTF-8 if the whole file is valid, then the legacy
encodings, scored by how ordinary the text is that each makes of a sample. A file of UTF-8 with a few broken bytes is
said to be just that, rather than taken for Latin-1, in which every byte is valid.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelkit.errors import UserError
from modelkit.wording import say

BLOCK = 1 << 20
SAMPLE = 1 << 18

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: First bytes of what people upload by mistake, and what to do instead.
_MAGIC = (
    (
        b"PK\x03\x04",
        say("a zip archive or an Excel workbook"),
        say("Save the sheet as CSV (UTF-8), or unpack the archive."),
    ),
    (b"\xd0\xcf\x11\xe0", say("an old Excel or Word file"), say("Save the sheet as CSV (UTF-8).")),
    (b"\x1f\x8b", say("a gzip archive"), say("Unpack it and upload the file inside.")),
    (b"%PDF", say("a PDF document"), say("Export its table as CSV.")),
    (b"\x89PNG", say("a PNG image"), say("Upload a table of text.")),
    (b"\xff\xd8\xff", say("a JPEG image"), say("Upload a table of text.")),
    (b"PAR1", say("a Parquet file"), say("Export it as CSV or JSON Lines.")),
    (b"SQLite format 3\x00", say("an SQLite database"), say("Export the table as CSV.")),
    (b"\x7fELF", say("a program"), say("Upload a table of text.")),
)


@dataclass(frozen=True)
class Detected:
    """`codec` opens the file; `how` says why: bom, valid, statistics or declared."""

    codec: str
    how: Literal["bom", "valid", "statistics", "declared"]


@dataclass(frozen=True)
class Break:
    """The first byte that is not valid: `offset` counts from 0, `line` from 1."""

    offset: int
    line: int
    byte: int


def _python_codec(codec: str, mark: bytes) -> str:
    return "utf-8-sig" if codec == "utf-8" and mark == codecs.BOM_UTF8 else codec


def find_break(path: Path, codec: str) -> Break | None:
    """The first place where the file is not valid `codec`, or None."""
    decoder = codecs.getincrementaldecoder(codec)("strict")
    consumed, lines = 0, 1
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            pending = decoder.getstate()[0]
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                # The decoder was given the bytes it held back, then this block.
                data = pending + block
                offset = consumed - len(pending) + error.start
                line = lines + data[len(pending) : error.start].count(b"\n")
                return Break(offset, line, data[error.start] if error.start < len(data) else 0)
            if not block:
                return None
            consumed += len(block)
            lines += block.count(b"\n")


def require_text(path: Path) -> None:
    """Raise UserError `empty_file` or `not_a_table` for what cannot be a table of text."""
    if path.stat().st_size == 0:
        raise UserError("empty_file", "The file is empty.", "Upload a file with a header and rows.", field="file")
    with path.open("rb") as file:
        head = file.read(SAMPLE)
    for magic, what, remedy in _MAGIC:
        if head.startswith(magic):
            raise UserError("not_a_table", "The file is {what}, not a table of text.", remedy, field="file", what=what)
    if any(head.startswith(mark) for mark, _ in _MARKS) or _utf16_without_mark(head):
        return
    control = sum(head.count(byte) for byte in (*range(9), *range(14, 27), *range(28, 32)))
    if b"\x00" in head or control > len(head) * 0.01:
        raise UserError(
            "not_a_table",
            "The file holds binary data, not a table of text.",
            "Export the table as CSV, TSV, JSON or JSON Lines in UTF-8.",
            field="file",
        )


def _utf16_without_mark(head: bytes) -> str | None:
    """ASCII characters, the line break above all, carry a zero in the same half of each pair."""
    pairs = len(head) // 2
    if pairs < 2:
        return None
    even, odd = head[0 : pairs * 2 : 2].count(0), head[1 : pairs * 2 : 2].count(0)
    breaks_le, breaks_be = head.count(b"\n\x00"), head.count(b"\x00\n")
    if odd > pairs * 0.02 and even == 0 and breaks_le:
        return "utf-16-le"
    if even > pairs * 0.02 and odd == 0 and breaks_be:
        return "utf-16-be"
    return None


def detect(path: Path) -> Detected:
    """The encoding of a file that `require_text` let pass; raises UserError `encoding_broken` for damaged UTF-8."""
    with path.open("rb") as file:
        head = file.read(SAMPLE)
    for mark, codec in _MARKS:
        if head.startswith(mark):
            codec = _python_codec(codec, mark)
            where = find_break(path, codec)
            if where is not None:
                raise _broken(codec, where)
            return Detected(codec, "bom")
    utf16 = _utf16_without_mark(head)
    if utf16 and find_break(path, utf16) is None:
        return Detected(utf16, "valid")
    where = find_break(path, "utf-8")
    if where is None:
        return Detected("utf-8", "valid")
    sample = _sample_around(path, where.offset)
    if _mostly_utf8(sample):
        raise _broken("utf-8", where)
    return Detected(_legacy(path, sample), "statistics")


def declared(path: Path, codec: str) -> Detected:
    """Check the declared encoding over the whole file; raises UserError `wrong_encoding` naming the first bad byte."""
    with path.open("rb") as file:
        head = file.read(4)
    codec = _python_codec(codec, head[:3])
    where = find_break(path, codec)
    if where is None:
        return Detected(codec, "declared")
    try:
        advice = say(
            "It looks like {codec}: choose that, or leave the encoding empty to have it detected.",
            codec=detect(path).codec,
        )
    except UserError:
        advice = say("Leave the encoding empty to have it detected.")
    raise UserError(
        "wrong_encoding",
        "The file is not {codec}: byte 0x{byte:02X} at offset {offset}, line {line}, is not valid.",
        advice,
        field="encoding",
        codec=codec,
        byte=where.byte,
        offset=where.offset,
        line=where.line,
    )


def _broken(codec: str, where: Break) -> UserError:
    return UserError(
        "encoding_broken",
        "The file is {codec} but damaged: byte 0x{byte:02X} at offset {offset}, line {line}, is not valid.",
        "Correct line {line}, or declare the encoding that the file was saved in.",
        field="encoding",
        codec=codec,
        byte=where.byte,
        offset=where.offset,
        line=where.line,
    )


def _sample_around(path: Path, offset: int) -> bytes:
    """Whole lines from the neighbourhood of the first byte that is not ASCII, where an encoding shows itself."""
    with path.open("rb") as file:
        file.seek(max(0, offset - 4096))
        block = file.read(SAMPLE)
    start = block.find(b"\n") + 1 if offset > 4096 else 0
    end = block.rfind(b"\n")
    return block[start:end] if end > start else block[start:]


_UTF8_SEQUENCE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}",
)


def _mostly_utf8(sample: bytes) -> bool:
    sequences = _UTF8_SEQUENCE.findall(sample)
    valid = sum(map(len, sequences))
    high = len(sample) - len(sample.translate(None, bytes(range(0x80, 0x100))))
    # Bytes of legacy Chinese fall into valid UTF-8 pairs now and then, hence the high bar.
    return high > 0 and valid >= 0.9 * high


def _legacy(path: Path, sample: bytes) -> str:
    scores = {codec: _ordinary(sample, codec) for codec in ("gb18030", "big5", "shift_jis", "euc-kr", "cp1251")}
    scores["cp1252"] = _latin(sample)
    for codec, score in sorted(scores.items(), key=lambda item: -item[1]):
        if score > 0.3 and find_break(path, codec) is None:
            return codec
    return "cp1252" if find_break(path, "cp1252") is None else "latin-1"


def _ordinary(sample: bytes, codec: str) -> float:
    """Share of the bytes above ASCII that become everyday characters of the encoding's language."""
    high = sum(byte >= 0x80 for byte in sample)
    text = sample.decode(codec, "replace")
    if text.count("\ufffd") > max(2, len(text) // 500):
        return 0.0
    if codec == "cp1251":
        lower = len(re.findall("[а-яё]", text))
        runs = sum(map(len, re.findall("[А-ЯЁа-яё]{3,}", text)))
        return runs / high if runs and lower > 0.6 * runs else 0.0
    if codec == "euc-kr":
        return 2 * len(re.findall("[가-힣]", text)) / high
    if codec == "shift_jis":
        return 2 * len(re.findall("[ぁ-んァ-ヶ]", text)) / high
    return sum(_everyday(char, codec) for char in text if char >= "\x80") * 2 / high


def _everyday(char: str, codec: str) -> bool:
    """Whether a character is in the level of the national standard that holds the few thousand common ones."""
    try:
        code = char.encode("gb2312" if codec == "gb18030" else "big5")
    except UnicodeEncodeError:
        return False
    # GB 2312 level 1: rows 16-55, punctuation: rows 1-3; Big5 level 1: A440-C67E, punctuation: A1-A3.
    return 0xA1 <= code[0] <= 0xA3 or (0xB0 <= code[0] <= 0xD7 if codec == "gb18030" else 0xA4 <= code[0] <= 0xC6)


def _latin(sample: bytes) -> float:
    """Share of the bytes above ASCII that stand alone or in pairs among ASCII, as accents and signs do."""
    runs = re.findall(rb"[\x80-\xff]+", sample)
    high = sum(map(len, runs))
    return sum(len(run) for run in runs if len(run) <= 2) / high * 0.75 if high else 0.0
