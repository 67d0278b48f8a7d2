"""Text that went through a wrong encoding: recognising and repairing it. Light.

Two kinds are known: UTF-8 bytes that were read as Windows-1252 (`â€™` for `’`, `Ã©` for `é`), undone by going the same
way back; and the sequences that Mac spreadsheet exports left in well-known corpora (`å£` for `£`), undone by a table.
"""

from __future__ import annotations

import re

#: Sequences as they appear -> what was meant. Seen in files that went from Mac Roman to Latin-1 by way of Excel.
_TABLE = {
    "å£": "£",
    "‰Û÷": "’",
    "‰Ûª": "’",
    "‰ÛÏ": "“",
    "‰Û\x9d": "”",
    "‰ÛÒ": "–",
    "‰ÛÓ": "—",
    "‰Û_": "…",
    "\x89Û÷": "’",
    "\x89Ûª": "’",
    "\x89ÛÏ": "“",
    "\x89Û\x9d": "”",
    "\x89ÛÒ": "–",
    "\x89ÛÓ": "—",
    "\x89Û_": "…",
    "åÕ": "’",
}
_TABLE_PATTERN = re.compile("|".join(map(re.escape, _TABLE)))

# A lead byte of a two- to four-byte UTF-8 sequence and its continuation bytes, as Windows-1252 shows them.
_TRAIL = "".join(re.escape(bytes([byte]).decode("cp1252", "ignore") or chr(byte)) for byte in range(0x80, 0xC0))
_SEQUENCE = re.compile(f"[\xc2-\xdf][{_TRAIL}]|[\xe0-\xef][{_TRAIL}]{{2}}|[\xf0-\xf4][{_TRAIL}]{{3}}")
#: Cheap test before the expensive one: no damage without one of these.
_SUSPECT = re.compile("[\x80-\x9f\xc2-\xf4\ufffd‰]")


def _byte(char: str) -> int:
    try:
        return char.encode("cp1252")[0]
    except UnicodeEncodeError:
        return ord(char)


def _undo(match: re.Match[str]) -> str:
    try:
        return bytes(_byte(char) for char in match.group()).decode("utf-8")
    except (UnicodeDecodeError, ValueError):
        return match.group()


def repair(text: str) -> str:
    """The text with every recognised sequence undone; the same object when there is none."""
    if not _SUSPECT.search(text):
        return text
    return _SEQUENCE.sub(_undo, _TABLE_PATTERN.sub(lambda match: _TABLE[match.group()], text))


def is_damaged(text: str) -> bool:
    """Whether the text holds a sequence that `repair` undoes, or a replacement character that nothing can undo."""
    return bool(_SUSPECT.search(text)) and ("\ufffd" in text or repair(text) != text)
