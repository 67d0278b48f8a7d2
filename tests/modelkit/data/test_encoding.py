"""Detected encodings, and the place where a file breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelkit.data import encoding
from modelkit.errors import UserError

CHINESE = "".join(
    f"{text},{label}\n"
    for text, label in [("新卡什么时候能到？我下周要出差", "到卡"), ("钱包被偷了，赶紧帮我把卡冻结", "挂失")] * 20
)
FRENCH = "Où est ma carte ? Elle n'est pas arrivée,carte\nJe n'ai pas reçu le remboursement,argent\n" * 20
RUSSIAN = "Где моя новая карта,карта\nВерните мои деньги пожалуйста,возврат\n" * 20


def _file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("text", "codec", "expected"),
    [
        (CHINESE, "utf-8", "utf-8"),
        (CHINESE, "utf-8-sig", "utf-8-sig"),
        (CHINESE, "gbk", "gb18030"),
        (CHINESE.translate(str.maketrans("么时钱赶紧帮冻结挂差", "麼時錢趕緊幫凍結掛差")), "big5", "big5"),
        (CHINESE, "utf-16", "utf-16"),
        ("text,label\n" + FRENCH, "utf-16-le", "utf-16-le"),
        ("text,label\n" + FRENCH, "utf-16-be", "utf-16-be"),
        (FRENCH, "latin-1", "cp1252"),
        (FRENCH.replace("'", "’"), "cp1252", "cp1252"),
        (RUSSIAN, "cp1251", "cp1251"),
        ("text,label\nplain ascii,a\n", "ascii", "utf-8"),
    ],
)
def test_detects(tmp_path: Path, text: str, codec: str, expected: str) -> None:
    path = _file(tmp_path, text.encode(codec, "ignore"))
    encoding.require_text(path)
    assert encoding.detect(path).codec == expected


def test_a_break_is_named_by_offset_and_line_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "BLOCK", 7)  # so that characters lie across blocks
    data = ("好的\n" * 100).encode() + b"\xff rest\n"
    where = encoding.find_break(_file(tmp_path, data), "utf-8")
    assert where == encoding.Break(offset=700, line=101, byte=0xFF)


def test_a_character_cut_off_at_the_end_is_a_break(tmp_path: Path) -> None:
    where = encoding.find_break(_file(tmp_path, b"a\n" + "好".encode()[:2]), "utf-8")
    assert where is not None
    assert (where.offset, where.line) == (2, 2)


def test_damaged_utf8_is_not_taken_for_latin(tmp_path: Path) -> None:
    path = _file(tmp_path, CHINESE.encode() + b"broken \xe4\xb8,a\n" + CHINESE.encode())
    with pytest.raises(UserError) as caught:
        encoding.detect(path)
    assert caught.value.code == "encoding_broken"
    assert "line 41" in caught.value.message


def test_a_wrong_declaration_names_byte_line_and_remedy(tmp_path: Path) -> None:
    path = _file(tmp_path, b"text,label\nfine,a\n" + CHINESE.encode("gbk"))
    with pytest.raises(UserError) as caught:
        encoding.declared(path, "utf-8")
    assert caught.value.code == "wrong_encoding"
    assert "line 3" in caught.value.message
    assert "0x" in caught.value.message
    assert "gb18030" in caught.value.hint
    assert caught.value.field == "encoding"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "not_a_table"),
        (b"PK\x03\x04" + bytes(200), "not_a_table"),
        (bytes(range(256)) * 20, "not_a_table"),
        (b"a,b\n1,\x00\x00\n" * 9, "not_a_table"),
    ],
)
def test_refuses_what_is_no_text(tmp_path: Path, data: bytes, code: str) -> None:
    with pytest.raises(UserError) as caught:
        encoding.require_text(_file(tmp_path, data))
    assert caught.value.code == code
    assert caught.value.hint
