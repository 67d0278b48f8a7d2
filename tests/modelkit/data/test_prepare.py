"""From a file to rows: mapping, splits, checks, fixes and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from modelkit.data.prepare import Prepared
from tests.modelkit.data.conftest import Prepare, table


def _rows(tmp_path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(tmp_path / "out" / "rows.parquet").to_pylist()
    return rows


def _check(prepared: Prepared, code: str) -> dict[str, Any]:
    return next(check for check in prepared.checks if check["code"] == code)


def test_writes_the_files_of_the_format_and_nothing_else(prepared: Prepare, tmp_path: Path) -> None:
    version = prepared(table())
    assert version.status == "ready", version.error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dataset.json", "rows.parquet"]
    card = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert card == {
        "format": 1,
        "task": "text_classification",
        "columns": {"text": "string", "label": "string"},
        "labels": ["card_arrival", "refund"],
        "splits": version.splits,
        "rows": 80,
        "mapping": {"text": "text", "label": "label"},
        "digest": version.digest,
    }
    file = pq.ParquetFile(tmp_path / "out" / "rows.parquet")
    assert file.schema_arrow.names == ["row_id", "position", "source", "split", "text", "label"]
    rows = _rows(tmp_path)
    order = {"train": 0, "validation": 1, "test": 2}
    assert [(order[row["split"]], row["position"]) for row in rows] == sorted(
        (order[row["split"]], row["position"]) for row in rows
    )
    assert len({row["row_id"] for row in rows}) == 80


def test_row_groups_hold_at_most_ten_thousand_rows(prepared: Prepare, tmp_path: Path) -> None:
    assert prepared(table(12_000)).rows == 24_000
    metadata = pq.ParquetFile(tmp_path / "out" / "rows.parquet").metadata
    assert metadata.num_row_groups > 1
    assert all(metadata.row_group(index).num_rows <= 10_000 for index in range(metadata.num_row_groups))


def test_the_digest_is_of_the_rows_not_of_the_file(prepared: Prepare) -> None:
    text = table()
    plain = prepared(text).digest
    assert prepared(text.replace("\n", "\r\n")).digest == plain
    assert prepared(text.encode("utf-16"), name="other.csv").digest == plain
    lines = [line.rsplit(",", 1) for line in text.splitlines()[1:]]
    jsonl = "".join(json.dumps({"text": body.strip('"'), "label": label}) + "\n" for body, label in lines)
    assert prepared(jsonl, name="t.jsonl").digest == plain
    assert prepared(text.replace("card number 3,", "card number three,")).digest != plain
    assert prepared({"train": text}).digest != plain


def test_a_text_is_never_on_both_sides_of_a_split(prepared: Prepare, tmp_path: Path) -> None:
    repeated = "text,label\n" + "".join(
        f"the same words number {number % 60},{'ab'[number % 2]}\n" for number in range(600)
    )
    assert prepared(repeated).status == "ready"
    places: dict[str, set[str]] = {}
    for row in _rows(tmp_path):
        places.setdefault(row["text"], set()).add(row["split"])
    assert len(places) == 60
    assert all(len(splits) == 1 for splits in places.values())


def test_adding_rows_moves_no_other_row(prepared: Prepare, tmp_path: Path) -> None:
    prepared(table(200))
    before = {row["row_id"]: row["split"] for row in _rows(tmp_path)}
    prepared(table(400))
    after = {row["row_id"]: row["split"] for row in _rows(tmp_path)}
    assert before.items() <= after.items()


def test_given_parts_are_kept(prepared: Prepare) -> None:
    both = prepared({"train": table(300), "test": table(40).replace("number", "nr").replace("the", "my")})
    assert both.splits["test"] == 80
    assert both.splits["train"] + both.splits["validation"] == 600
    assert 30 <= both.splits["validation"] <= 90
    parts = {"train": table(30), "validation": table(20), "test": table(10)}
    assert prepared(parts).splits == {"train": 60, "validation": 40, "test": 20}


def test_a_small_class_is_in_every_split(prepared: Prepare) -> None:
    rare = "".join(f"seldom asked thing {number} of this kind,rare\n" for number in range(3))
    version = prepared(table(300) + rare)
    row = next(row for row in version.stats["classes"] if row["label"] == "rare")
    assert (row["train"], row["validation"], row["test"]) == (1, 1, 1)
    assert _check(version, "split_coverage")["severity"] == "pass"
    assert _check(version, "rare_classes")["count"] == 1
    fixed = prepared(table(300) + rare, fixes=("drop_rare_classes",))
    assert fixed.labels == ["card_arrival", "refund"]


def test_checks_count_and_fixes_mend(prepared: Prepare) -> None:
    text = table(60)
    dirty = text + text.splitlines()[1] + "\n"  # a duplicate
    dirty += "Please give me back the 5 euros,card_arrival\n"  # a conflict
    dirty += ",refund\n"  # an empty row
    dirty += "no label here at all,\n"
    dirty += "one,two,three,refund\n"  # ragged
    dirty += "it cost Â£5 or donâ€™t,refund\n"  # UTF-8 read as Windows-1252
    dirty += "word " * 3000 + ",refund\n"  # longer than an encoder reads
    version = prepared(dirty)
    assert version.status == "ready", version.error
    counts = {check["code"]: check["count"] for check in version.checks}
    assert {code: counts[code] for code in ("duplicates", "conflicts", "empty_rows", "empty_labels")} == {
        "duplicates": 1, "conflicts": 1, "empty_rows": 1, "empty_labels": 1,
    }  # fmt: skip
    assert counts["ragged_rows"] == counts["encoding_damage"] == counts["lengths"] == 1
    assert _check(version, "ragged_rows")["examples"] == [{"file": "t.csv", "line": 126}]
    assert _check(version, "encoding_damage")["examples"][0]["repaired"] == "it cost £5 or don’t"
    # 120 + 7 lines; without label and so left out: one, and the ragged row whose second cell is its class: none.
    assert version.rows == 126
    fixes = tuple(check["fix"] for check in version.checks if check["fix"])
    assert set(fixes) >= {"drop_duplicates", "drop_conflicts", "drop_empty_rows", "drop_long_rows", "repair_encoding"}
    fixed = prepared(dirty, fixes=fixes)
    left = {check["code"]: check["count"] for check in fixed.checks}
    mended = ("duplicates", "conflicts", "empty_rows", "ragged_rows", "encoding_damage", "lengths", "rare_classes")
    assert all(left[code] == 0 for code in mended), left
    assert fixed.rows == 126 - 6  # both rows of the conflict, one for each other trouble; the repaired row stays


def test_spilled_cells_can_be_joined(prepared: Prepare, tmp_path: Path) -> None:
    rows = "".join(f"{['ham', 'spam'][n % 2]},text number {n} goes on,,,\n" for n in range(40))
    version = prepared("v1,v2,,,\n" + rows + 'spam,so broken, and more, of it",\n')
    assert version.mapping == {"text": "v2", "label": "v1"}
    assert _check(version, "spilled_cells")["count"] == 1
    prepared("v1,v2,,,\n" + rows + 'spam,so broken, and more, of it",\n', fixes=("join_spilled_cells",))
    assert 'so broken, and more, of it"' in {row["text"] for row in _rows(tmp_path)}


def test_leaks_are_dropped_from_train_only(prepared: Prepare) -> None:
    parts = {"train": table(50), "test": table(5)}
    assert _check(prepared(parts), "leaks")["count"] == 10
    fixed = prepared(parts, fixes=("drop_leaks",))
    assert fixed.splits["test"] == 10
    assert fixed.rows == 100


def test_names_for_numbered_classes(prepared: Prepare) -> None:
    rows = "".join(f"headline of the day number {n}\t{n % 3}\n" for n in range(60))
    assert prepared(rows, name="t.txt").labels == ["0", "1", "2"]
    assert prepared(rows, name="t.txt", labels=["sport", "arts", "city"]).labels == ["arts", "city", "sport"]
    short = prepared(rows, name="t.txt", labels=["sport", "arts"])
    assert short.error is not None
    assert short.error["code"] == "label_name_missing"
    assert short.error["field"] == "labels"


def test_an_unclear_mapping_waits_for_the_user(prepared: Prepare) -> None:
    rows = "".join(f"first long sentence {n},second long sentence {n},{'ab'[n % 2]}\n" for n in range(40))
    version = prepared("body,answer,kind\n" + rows)
    assert version.status == "needs_mapping"
    assert version.detected["suggestions"]["text"][:2] == ["body", "answer"]
    assert version.error is not None
    assert version.error["field"] == "mapping.text"
    assert prepared("body,answer,kind\n" + rows, mapping={"text": "answer"}).mapping == {
        "text": "answer",
        "label": "kind",
    }
    wrong = prepared("body,answer,kind\n" + rows, mapping={"text": "nope"})
    assert wrong.status == "needs_mapping"
    assert wrong.error is not None
    assert wrong.error["code"] == "unknown_column"


@pytest.mark.parametrize(
    ("content", "code", "field"),
    [
        ("text,label\n", "no_rows", "header"),
        ("text,label\n" + "the same class,only\nall over again,only\n" * 20, "one_class", "mapping.label"),
        ("text\n" + "there is no label column here\nnone at all\n" * 20, "label_missing", "mapping.label"),
        ("text,label\n" + "words without a class,\n" * 20, "no_labels", "mapping.label"),
        ("text,label\n" + "a,b,c,d,e\nx\n,,,,,,,1\n" * 20 + table(2, ""), "ragged_rows", "delimiter"),
        ({"test": table()}, "train_missing", "train"),
        (
            "text,label\n" + "".join(f"sentence number {n} is long,class {n}\n" for n in range(1500)),
            "label_not_classes",
            "mapping.label",
        ),
    ],
)
def test_refuses_naming_the_field_and_the_remedy(
    prepared: Prepare, content: str | dict[str, str], code: str, field: str
) -> None:
    version = prepared(content)
    assert version.status == "rejected"
    assert version.error is not None
    assert (version.error["code"], version.error["field"]) == (code, field)
    assert version.error["hint"]


def test_lines_that_are_not_json_are_left_out_and_told(prepared: Prepare) -> None:
    good = "".join(json.dumps({"text": f"words {n} and more", "label": "ab"[n % 2]}) + "\n" for n in range(40))
    version = prepared(good + "{broken\n[1, 2]\n", name="t.jsonl")
    assert version.rows == 40
    malformed = _check(version, "malformed_rows")
    assert [(example["line"]) for example in malformed["examples"]] == [41, 42]


def test_text_that_no_database_stores_is_made_storable(prepared: Prepare, tmp_path: Path) -> None:
    rows = "".join(json.dumps({"text": f"words {n}", "label": "ab"[n % 2]}) + "\n" for n in range(40))
    odd = '{"text": "half \\ud83d of a pair and \\u0000 NUL", "label": "a"}\n'
    assert prepared(rows + odd, name="t.jsonl").rows == 41
    assert "half \ufffd of a pair and \ufffd NUL" in {row["text"].replace("?", "\ufffd") for row in _rows(tmp_path)}
