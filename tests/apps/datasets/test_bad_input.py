"""Bad input over the API: the answer names the field and the remedy, and nothing is left half-made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apps.datasets.models import DatasetVersion
from tests.apps.datasets.conftest import Uploads
from tests.personas import Team

pytestmark = pytest.mark.django_db

GBK = "text,label\n你好世界,甲\n再见,乙\n".encode("gbk")
BIG = "text,label\n" + '"' + "x" * 10_000_000 + '",a\nfine,b\n'


@pytest.mark.parametrize(
    ("file", "fields", "code", "field"),
    [
        (("binary.csv", bytes(range(256)) * 50), {}, "not_a_table", "file"),
        (("sheet.csv", b"PK\x03\x04" + bytes(500)), {}, "not_a_table", "file"),
        (("empty.csv", b""), {}, "empty_file", "file"),
        (("header.csv", "text,label\n"), {}, "no_rows", "header"),
        (("one.csv", "text,label\n" + "some words here,a\nother words,a\n" * 9), {}, "one_class", "mapping.label"),
        (("nolabel.csv", "text\n" + "some words here\nother words\n" * 9), {}, "label_missing", "mapping.label"),
        (("ragged.csv", "text,label\n" + "a,b,c,d\nx\n1,2,3\n" * 30), {}, "ragged_rows", "delimiter"),
        (("cell.csv", BIG), {}, "cell_too_large", "file"),
        (("gbk.csv", GBK), {"encoding": "utf-8"}, "wrong_encoding", "encoding"),
        (("broken.json", '[{"text": "a", "label": "b"},'), {}, "malformed_json", "file"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_rejected(
    uploads: Uploads, file: tuple[str, Any], fields: dict[str, str], code: str, field: str
) -> None:
    version = uploads.make("bad", {"file": file}, **fields)
    assert version["status"] == "rejected"
    assert version["error"]["code"] == code
    assert version["error"]["field"] == field
    assert version["error"]["hint"]
    assert file[0] in version["error"]["message"] or code in {"one_class", "label_missing", "ragged_rows"}
    rows = uploads.person.api("GET", "/datasets/bad/versions/1/rows")
    assert rows.status_code == 409
    assert rows.json()["error"]["code"] == "version_not_ready"


@pytest.mark.parametrize(
    ("files", "fields", "named"),
    [
        ({}, {}, "file"),
        ({"file": ("a.csv", "text,label\na,b\n")}, {"encoding": "klingon"}, "encoding"),
        ({"file": ("a.csv", "text,label\na,b\n")}, {"delimiter": "x"}, "delimiter"),
        ({"file": ("a.csv", "text,label\na,b\n")}, {"header": "perhaps"}, "header"),
        ({"file": ("a.csv", "text,label\na,b\n")}, {"mapping": "{text"}, "mapping"),
        ({"file": ("a.csv", "text,label\na,b\n")}, {"mapping": '["text"]'}, "mapping"),
        ({"file": ("a.csv", "text,label\na,b\n")}, {"mapping": '{"colour": "text"}'}, "mapping.colour"),
        ({"file": ("a.csv", "text,label\na,b\n")}, {"labels": "[1, 2"}, "labels"),
        ({"file": ("a.csv", "text,label\na,b\n")}, {"surprise": "1"}, "surprise"),
        ({"test": ("a.csv", "text,label\na,b\n")}, {}, "train"),
        ({"file": ("a.csv", "a,b\n"), "train": ("b.csv", "a,b\n")}, {}, "file"),
        ({"train": [("a.csv", "a,b\n"), ("b.csv", "a,b\n")]}, {}, "train"),
        ({"other": ("a.csv", "a,b\n")}, {}, "other"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(
    uploads: Uploads, files: dict[str, Any], fields: dict[str, str], named: str
) -> None:
    uploads.person.api("POST", "/datasets", {"name": "bad", "task": "text_classification"})
    response = uploads.post("bad", files, **fields)
    assert response.status_code == 422, response.content
    error = response.json()["error"]
    assert list(error["fields"]) == [named]
    assert error["hint"]
    assert not DatasetVersion.objects.exists()
    assert uploads.sent == []


@pytest.mark.parametrize(("header", "found"), [("none", False), ("False", False), ("true", True), ("infer", True)])
def test_a_header_is_declared_in_the_words_of_other_tools(uploads: Uploads, header: str, found: bool) -> None:
    rows = "text,label\n" + "".join(f"some words {number},{'ab'[number % 2]}\n" for number in range(40))
    version = uploads.make("words", {"file": ("a.csv", rows)}, header=header)
    assert version["status"] == "ready", version["error"]
    assert version["detected"]["files"][0]["header"] is found
    assert version["rows"] == (40 if found else 41)


def test_datasets_are_named_strictly(uploads: Uploads) -> None:
    create = uploads.person.api
    for name in ("", "Upper", "-x", "a b", "é", "x" * 64):
        response = create("POST", "/datasets", {"name": name, "task": "text_classification"})
        assert response.status_code == 422, name
        assert "name" in response.json()["error"]["fields"]
    assert create("POST", "/datasets", {"name": "a", "task": "magic"}).json()["error"]["fields"].keys() == {"task"}
    assert create("POST", "/datasets", {"name": "a", "colour": 1}).status_code == 422
    assert create("POST", "/datasets", {"name": "a", "task": "text_classification"}).status_code == 201
    taken = create("POST", "/datasets", {"name": "a", "task": "text_classification"})
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "name_taken")


def test_fixes_are_checked(uploads: Uploads, tickets: Callable[[], str]) -> None:
    uploads.make("good", {"file": ("t.csv", tickets())})
    api = uploads.person.api

    def fix(body: Any) -> tuple[int, dict[str, Any]]:
        response = api("POST", "/datasets/good/versions", body)
        return response.status_code, response.json()["error"]

    unknown = fix({"from": 1, "fixes": ["paint_it_blue"]})[1]
    assert (unknown["code"], unknown["fields"].keys()) == ("unknown_fix", {"fixes"})
    assert fix({"from": 1, "fixes": []})[0] == 422
    assert fix({"from": 1})[1]["fields"].keys() == {"fixes"}
    assert fix({"from": 1, "fixes": ["drop_leaks"], "x": 1})[0] == 422
    assert fix({"from": 99, "fixes": ["drop_leaks"]})[0] == 404
    assert fix(b"{broken")[1]["code"] == "malformed_json"
    response = api("POST", "/datasets/good/versions", {"from": 1, "fixes": ["drop_duplicates"]})
    uploads.work()
    same = uploads.version("good", response.json()["version"])
    assert (same["status"], same["error"]["code"], same["error"]["same_as"]) == ("rejected", "same_rows", "good@1")


def test_what_is_not_there_and_what_is_another_teams_look_alike(
    uploads: Uploads, team: Team, tickets: Callable[[], str]
) -> None:
    uploads.make("mine", {"file": ("t.csv", tickets())})
    for path in ("", "/versions", "/versions/1", "/versions/1/rows", "/versions/1/checks", "/versions/1/download"):
        assert team.outsider.api("GET", f"/datasets/mine{path}").status_code == 404
        assert team.viewer.api("GET", f"/datasets/mine{path}").status_code == 200
    assert team.developer.api("GET", "/datasets/mine/versions/2").status_code == 404
    assert team.developer.api("GET", "/datasets/mine/versions/1/rows?limit=0").status_code == 422
    assert team.developer.api("GET", "/datasets/mine/versions/1/rows?cursor=xx").status_code == 422
    assert team.viewer.api("POST", "/datasets", {"name": "b", "task": "text_classification"}).status_code == 403
    assert team.developer.api("DELETE", "/datasets/mine").status_code == 403
    assert team.maintainer.api("DELETE", "/datasets/mine").status_code == 204
    assert team.developer.api("GET", "/datasets/mine").status_code == 404
