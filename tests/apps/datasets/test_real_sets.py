"""The main job on real files: what people upload, with every quirk kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apps.datasets.conftest import Uploads

pytestmark = pytest.mark.django_db


def test_banking77_in_two_parts(uploads: Uploads, shared_data: Path) -> None:
    folder = shared_data / "banking77"
    files = {part: (f"{part}.csv", folder / f"{part}.csv") for part in ("train", "test")}
    version = uploads.make("banking", files)
    assert version["status"] == "ready", version["error"]
    assert version["rows"] == 13083
    assert version["splits"]["test"] == 3080
    assert version["splits"]["train"] + version["splits"]["validation"] == 10003
    assert 0.08 < version["splits"]["validation"] / 10003 < 0.12
    assert len(version["labels"]) == 77
    assert {"reverted_card_payment?", "Refund_not_showing_up"} <= set(version["labels"])
    assert version["mapping"] == {"text": "text", "label": "category"}
    leaks = uploads.check("banking", 1, "leaks")
    assert leaks["count"] == 6
    assert len(leaks["examples"]) == 6
    fixed = uploads.fix("banking", 1, leaks["fix"])
    assert fixed["rows"] == 13083 - 6
    assert fixed["splits"]["test"] == 3080
    assert uploads.check("banking", 2, "leaks")["severity"] == "pass"
    assert fixed["parent"] == "banking@1"
    assert uploads.version("banking", 1) == version


def test_sms_spam_is_latin_with_a_generic_header(uploads: Uploads, shared_data: Path) -> None:
    version = uploads.make("sms", {"file": ("spam.csv", shared_data / "sms_spam" / "spam.csv")})
    assert version["status"] == "ready", version["error"]
    assert version["rows"] == 5572
    assert version["mapping"] == {"text": "v2", "label": "v1"}
    (file,) = version["detected"]["files"]
    assert file["encoding"] == "cp1252"
    assert file["unnamed"] == ["unnamed_3", "unnamed_4", "unnamed_5"]
    counts = {check["code"]: check["count"] for check in version["checks"]}
    assert counts["spilled_cells"] == 50
    assert counts["duplicates"] >= 403
    assert counts["encoding_damage"] > 250
    fixed = uploads.fix("sms", 1, "drop_duplicates", "repair_encoding", "join_spilled_cells")
    codes = {check["code"]: check["severity"] for check in fixed["checks"]}
    assert codes["duplicates"] == codes["encoding_damage"] == "pass"
    rows = uploads.person.api("GET", "/datasets/sms/versions/2/rows?search=£1000&limit=5").json()
    assert rows["total"] > 5
    assert "å£" not in rows["items"][0]["text"]


def test_waimai_in_utf8_and_gbk_gives_the_same_rows(uploads: Uploads, shared_data: Path) -> None:
    folder = shared_data / "waimai_10k"
    utf8 = uploads.make("waimai", {"file": ("waimai_10k.csv", folder / "waimai_10k.csv")})
    gbk = uploads.make("waimai", {"file": ("waimai_10k_gbk.csv", folder / "waimai_10k_gbk.csv")})
    assert (utf8["rows"], gbk["rows"]) == (11987, 11955)
    assert gbk["detected"]["files"][0]["encoding"] == "gb18030"
    assert utf8["mapping"] == {"text": "review", "label": "label"}
    assert utf8["labels"] == gbk["labels"] == ["0", "1"]
    assert uploads.check("waimai", 1, "conflicts")["count"] == 7
    diff = uploads.person.api("GET", "/datasets/waimai/versions/2/diff?against=1").json()
    # The GBK copy lacks the rows that GBK cannot write, and nothing else differs.
    assert (diff["added"], diff["removed"], diff["relabelled"]) == (0, 32, 0)
    # Sorted by class in the file, mixed in every split.
    classes = uploads.person.api("GET", "/datasets/waimai/versions/1/stats").json()["classes"]
    assert {row["label"]: row["rows"] for row in classes} == {"0": 7987, "1": 4000}
    assert all(row[split] > 300 for row in classes for split in ("train", "validation", "test"))


def test_thucnews_has_no_header_and_numbers_for_classes(uploads: Uploads, shared_data: Path) -> None:
    folder = shared_data / "thucnews_titles"
    names = (folder / "class.txt").read_text()
    files = {part: (f"{part}.txt", folder / f"{part}.txt") for part in ("train", "test")}
    version = uploads.make("news", files, labels=names)
    assert version["status"] == "ready", version["error"]
    assert version["detected"]["files"][0]["header"] is False
    assert version["detected"]["files"][0]["delimiter"] == "\t"
    assert version["rows"] == 20000
    assert version["labels"] == sorted(names.split())
    assert uploads.check("news", 1, "leaks")["count"] == 8


def test_thucnews_dropped_as_three_files(uploads: Uploads, shared_data: Path) -> None:
    folder = shared_data / "thucnews_titles"
    files = [(name, folder / name) for name in ("train.txt", "test.txt", "class.txt")]
    version = uploads.make("news", {"file": files})
    assert version["status"] == "ready", version["error"]
    assert version["splits"]["test"] == 10000
    assert "entertainment" in version["labels"]


def test_a_table_of_numbers_is_told_that_it_holds_no_text(uploads: Uploads, shared_data: Path) -> None:
    version = uploads.make("wine", {"file": ("wine.csv", shared_data / "winequality" / "winequality-red.csv")})
    assert (version["status"], version["error"]["code"]) == ("needs_mapping", "mapping_needed")
    assert version["error"]["message"] == "No column of wine.csv looks like the text."
    assert "upload a file with such a column" in version["error"]["hint"]
    assert version["error"]["field"] == "mapping.text"


def test_a_table_with_several_possible_classes_asks_which(uploads: Uploads, shared_data: Path) -> None:
    version = uploads.make("titanic", {"file": ("titanic.csv", shared_data / "titanic" / "titanic.csv")})
    assert (version["status"], version["error"]["code"]) == ("needs_mapping", "mapping_needed")
    assert version["error"]["message"] == "It is not clear which column holds the label."
    assert "Survived" in version["error"]["hint"]
