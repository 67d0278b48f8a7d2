"""Dialect, header and formats: one table written in many ways comes out the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelkit.data.options import ReadOptions
from modelkit.data.readers import TableFile
from modelkit.errors import UserError

ROWS = [
    ("Where is my card, please?", "card"),
    ('He said "soon", that was in May', "card"),
    ("two\nlines", "refund"),
    ("钱什么时候到账；急", "refund"),
    ("a | b ; c", "other"),
] * 6


QUOTED = "text,label\n" + '"well, quoted",a\n' * 500


def _csv(delimiter: str, newline: str = "\n", header: bool = True) -> str:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in f'{delimiter}"\n') else text

    lines = [("text", "label")] * header + ROWS
    return newline.join(delimiter.join(map(cell, row)) for row in lines) + newline


def _read(tmp_path: Path, name: str, data: str | bytes, **options: object) -> tuple[TableFile, list[tuple[str, ...]]]:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    table = TableFile(path, name, ReadOptions.model_validate(options), ("text", "label"))
    return table, [tuple(row.cells) for row in table.rows()]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [True, False])
def test_finds_the_dialect(tmp_path: Path, delimiter: str, newline: str, header: bool) -> None:
    table, rows = _read(tmp_path, "t.txt", _csv(delimiter, newline, header))
    assert table.found.delimiter == delimiter
    assert table.found.header is header
    assert rows == ROWS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.json", json.dumps([{"text": t, "label": c} for t, c in ROWS])),
        ("t.json", json.dumps([{"text": t, "label": c} for t, c in ROWS], indent=2, ensure_ascii=False)),
        ("t.json", json.dumps({"about": {"n": [1]}, "data": [{"text": t, "label": c} for t, c in ROWS]})),
        ("t.jsonl", "".join(json.dumps({"text": t, "label": c}) + "\n" for t, c in ROWS)),
        ("t.txt", "".join(json.dumps({"text": t, "label": c}) + "\r\n" for t, c in ROWS)),
        ("t.json", "".join(json.dumps({"text": t, "label": c}) + "\n\n" for t, c in ROWS)),
    ],
)
def test_reads_json(tmp_path: Path, name: str, text: str) -> None:
    table, rows = _read(tmp_path, name, text)
    assert table.found.columns == ("text", "label")
    assert rows == ROWS


def test_json_is_read_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelkit.data.json_stream.BLOCK", 5)
    values = [{"text": "x" * 40, "label": 12345, "other": [1, {"a": None}], "flag": True, "none": None}] * 3
    _, rows = _read(tmp_path, "t.json", json.dumps(values))
    assert rows == [("x" * 40, "12345", '[1, {"a": null}]', "true", "")] * 3


def test_rows_carry_the_line_that_an_editor_shows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('text,label\n\n"two\nlines",a\none,b,too,many\nlast,a\n')
    table = TableFile(path, "t.csv", ReadOptions(), ("text", "label"))
    assert [(row.line, row.ragged) for row in table.rows()] == [(3, False), (5, True), (6, False)]
    assert table.tally.blank == 1
    assert table.tally.ragged_examples == [{"line": 5, "cells": 4, "expected": 2}]


def test_quotes_in_a_tab_separated_file_are_characters(tmp_path: Path) -> None:
    lines = [f'"Quoted start of title {number}\t{number % 3}' for number in range(30)]
    table, rows = _read(tmp_path, "t.txt", "\n".join(lines))
    assert table.found.quoted is False
    assert len(rows) == 30
    assert rows[0] == ('"Quoted start of title 0', "0")


def test_declarations_win(tmp_path: Path) -> None:
    table, rows = _read(tmp_path, "t.csv", "a;b,c\nd;e,f\n", delimiter="semicolon", header=False)
    assert table.found.columns == ("column_1", "column_2")
    assert rows == [("a", "b,c"), ("d", "e,f")]


def test_empty_and_repeated_names_become_distinct(tmp_path: Path) -> None:
    table, _ = _read(tmp_path, "t.csv", "text,,label,text,\n" + "a b c,1,x,2,3\n" * 3)
    assert table.found.columns == ("text", "unnamed_2", "label", "text_2", "unnamed_5")
    assert table.found.unnamed == ("unnamed_2", "unnamed_5")


@pytest.mark.parametrize(
    ("name", "data", "code", "words"),
    [
        ("t.csv", 'text,label\n"' + "x" * 10_000_000 + '",a\nfine,b\n', "cell_too_large", "line 2"),
        (
            "t.csv",
            "text,label\n" + '"well, quoted",a\n' * 500 + '"never closed,a\n' + "m,b\n" * 300_000,
            "cell_too_large",
            "line 502",
        ),
        ("t.json", '[{"text": "a", "label": "b"}, {"text": ', "malformed_json", "line 1"),
        ("t.json", '[{"text": "a"},\n {"text" "b"}]', "malformed_json", "line 2"),
        ("t.json", '[{"text": "a"}] trailing', "malformed_json", "follows"),
        ("t.json", '{"text":\n "a"}', "not_a_table", "no list"),
        ("t.json", "text,label\n", "malformed_json", "array"),
        ("t.json", "[]", "no_rows", "no JSON objects"),
        ("t.json", "[" * 100_000, "malformed_json", "nested"),
        ("t.jsonl", json.dumps({"text": "x" * 2_000_000}) + "\n", "cell_too_large", "line 1"),
        ("t.csv", "  \n \n", "empty_file", "white space"),
    ],
)
def test_refuses_with_place_and_remedy(tmp_path: Path, name: str, data: str, code: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        _read(tmp_path, name, data)
    assert caught.value.code == code
    assert words in caught.value.message.replace("Line", "line")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("option", "value"), [("encoding", "rot13"), ("encoding", "klingon"), ("delimiter", "x"), ("labels", ["a", "a"])]
)
def test_unknown_declarations_are_refused(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        ReadOptions.model_validate({option: value})
