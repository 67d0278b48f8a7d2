"""Pages of datasets: whole without script, every tab, every role, both languages."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.datasets.models import Dataset, DatasetVersion
from apps.datasets.row_browser import rows_path
from apps.registry.models import ModelVersion, RegisteredModel
from tests.apps.datasets.conftest import Uploads
from tests.apps.datasets.test_versions import UNCLEAR
from tests.apps.jobs.factory import base_model_make
from tests.personas import Team

pytestmark = pytest.mark.django_db

TABS = ("rows", "statistics", "checks", "mapping", "versions", "used")


def test_an_empty_workspace_offers_the_sample(uploads: Uploads, team: Team) -> None:
    browser = team.developer.browser()
    page = browser.get("/datasets/")
    assert b'name="sample" value="tickets"' in page.content
    answer = browser.post("/datasets/-/sample/", {"sample": "tickets"})
    assert answer["Location"] == "/datasets/tickets/1/"
    waiting = browser.get("/datasets/tickets/1/")
    assert b'hx-trigger="every 1s"' in waiting.content
    uploads.work()
    assert browser.get("/datasets/tickets/1/status/")["HX-Refresh"] == "true"
    assert b"600" in browser.get("/datasets/tickets/1/").content


def test_a_file_becomes_a_dataset_named_after_it(uploads: Uploads, team: Team, tickets: Callable[[], str]) -> None:
    browser = team.developer.browser()
    body = {"task": "text_classification", "name": "", "title": "", "encoding": "", "header": "", "labels": ""}
    # As a browser sends the file fields that were left empty: a name without a file is a text to the parser.
    body |= {"train": "", "validation": "", "test": ""}
    file = SimpleUploadedFile("Bank Tickets 2024.csv", tickets().encode())
    answer = browser.post("/datasets/-/new/", {**body, "file": file})
    assert answer.status_code == 302, answer.content
    assert answer["Location"] == "/datasets/bank-tickets-2024/1/"
    uploads.work()
    for tab in TABS:
        page = browser.get(f"/datasets/bank-tickets-2024/1/?tab={tab}")
        assert page.status_code == 200
        assert b'aria-current="page"' in page.content
    link = re.search(r'href="([^"]*download[^"]*)"', browser.get("/datasets/bank-tickets-2024/1/").content.decode())
    assert link is not None
    original = browser.get(link[1])
    assert original.status_code == 200
    assert b"".join(original) == tickets().encode()
    fragment = browser.get("/datasets/bank-tickets-2024/1/?tab=rows&search=euros", headers={"HX-Request": "true"})
    assert b"<html" not in fragment.content
    assert b"Please give me back" in fragment.content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Not A Slug"}, b"lower-case letters"),
        ({"encoding": "klingon"}, b"klingon"),
        ({"task": "magic"}, b"magic"),
    ],
)
def test_a_refused_upload_shows_why_and_leaves_nothing(
    uploads: Uploads, team: Team, tickets: Callable[[], str], change: dict[str, str], words: bytes
) -> None:
    browser = team.developer.browser()
    body = {"task": "text_classification", "name": "x", "title": "", **change}
    answer = browser.post("/datasets/-/new/", {**body, "file": SimpleUploadedFile("t.csv", tickets().encode())})
    assert answer.status_code == 422
    assert words in answer.content
    assert not Dataset.objects.exists()


def test_without_a_file_the_form_says_so(uploads: Uploads, team: Team) -> None:
    answer = team.developer.browser().post("/datasets/-/new/", {"task": "text_classification", "name": "x"})
    assert answer.status_code == 422
    assert b"Choose a file." in answer.content


def test_mapping_by_form(uploads: Uploads, team: Team) -> None:
    uploads.make("u", {"file": ("u.csv", UNCLEAR)})
    browser = team.developer.browser()
    page = browser.get("/datasets/u/1/")
    assert b"need your decision" in page.content
    wrong = browser.post("/datasets/u/1/mapping/", {"role_text": "nope", "role_label": "kind"})
    assert wrong.status_code == 422
    answer = browser.post("/datasets/u/1/mapping/", {"role_text": "body", "role_label": "kind"})
    assert answer["Location"] == "/datasets/u/1/"
    uploads.work()
    assert uploads.version("u", 1)["status"] == "ready"


def test_rows_that_the_storage_lost(uploads: Uploads, team: Team, tickets: Callable[[], str]) -> None:
    uploads.make("t", {"file": ("t.csv", tickets())})
    rows_path(DatasetVersion.objects.get()).unlink()
    browser = team.developer.browser()
    page = browser.get("/datasets/t/1/?tab=rows").content.decode()
    assert "The rows of t@1 are not in the storage any more." in page
    assert "No row matches" not in page
    answer = team.developer.api("GET", "/datasets/t/versions/1/rows")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "rows_missing")
    base_model_make()
    wizard = browser.get("/jobs/new?dataset=t@1&base_model=tiny")
    assert wizard.status_code == 200
    assert "Bring the storage back from its backup" in wizard.content.decode()
    body = {"kind": "train", "task": "text_classification", "dataset": "t@1", "model_name": "m", "preset": "instant"}
    refused = team.developer.api("POST", "/jobs", {**body, "base_model": "tiny"})
    assert refused.status_code == 409
    assert list(refused.json()["error"]["fields"]) == ["dataset"]


def test_what_uses_a_version_is_linked(uploads: Uploads, team: Team, tickets: Callable[[], str]) -> None:
    uploads.make("t", {"file": ("t.csv", tickets())})
    version = DatasetVersion.objects.get()
    model = RegisteredModel.objects.create(workspace=team.workspace, name="m", task="text_classification")
    ModelVersion.objects.create(model=model, number=1, dataset_version=version, bundle_digest="0")
    page = team.viewer.browser().get("/datasets/t/1/?tab=used").content.decode()
    assert '<a class="primary" href="/models/m/1/">m@1</a>' in page


def test_fixing_by_button(uploads: Uploads, team: Team, tickets: Callable[[], str]) -> None:
    uploads.make("t", {"file": ("t.csv", tickets() + tickets().splitlines()[1] + "\n")})
    browser = team.developer.browser()
    assert b'name="fixes" value="drop_duplicates"' in browser.get("/datasets/t/1/?tab=checks").content
    answer = browser.post("/datasets/t/1/fix/", {"fixes": "drop_duplicates"})
    assert answer["Location"] == "/datasets/t/2/"
    uploads.work()
    versions = browser.get("/datasets/t/2/?tab=versions").content.decode()
    assert "t@1" in versions
    assert "−1" in versions


def test_a_rejected_version_says_why(uploads: Uploads, team: Team) -> None:
    uploads.make("bad", {"file": ("bad.csv", bytes(range(256)) * 9)})
    for tab in TABS:
        page = team.viewer.browser().get(f"/datasets/bad/1/?tab={tab}")
        assert page.status_code == 200
        assert b"binary data" in page.content
        assert b"Export the table as CSV" in page.content


def test_who_may_do_what(uploads: Uploads, team: Team, tickets: Callable[[], str]) -> None:
    uploads.make("t", {"file": ("t.csv", tickets())})
    assert team.viewer.browser().get("/datasets/t/1/").status_code == 200
    assert team.viewer.browser().post("/datasets/-/sample/").status_code == 403
    assert team.viewer.browser().post("/datasets/t/1/fix/", {"fixes": "drop_leaks"}).status_code == 403
    assert team.developer.browser().post("/datasets/t/delete/").status_code == 403
    for path in ("/datasets/t/", "/datasets/t/1/", "/datasets/t/1/download/", "/datasets/t/upload/"):
        assert team.outsider.browser().get(path).status_code == 404
    assert team.maintainer.browser().post("/datasets/t/delete/")["Location"] == "/datasets/"


def test_texts_are_shown_as_text(uploads: Uploads, team: Team) -> None:
    rows = "".join(f"<script>alert({n})</script> & more,{'ab'[n % 2]}\n" for n in range(30))
    uploads.make("x", {"file": ("x.csv", "text,label\n" + rows)})
    for tab in TABS:
        page = team.viewer.browser().get(f"/datasets/x/1/?tab={tab}").content
        assert b"<script>alert" not in page
