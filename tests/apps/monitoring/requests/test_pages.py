"""The tab Requests, the forms of feedback, the settings of the log."""

from __future__ import annotations

import pytest

from apps.datasets.models import Dataset, DatasetVersion
from apps.datasets.services import version_upload
from apps.deployments.models import Endpoint, TimelineEntry
from apps.monitoring.models import Feedback
from tests.apps.monitoring.requests.conftest import SamplesMake
from tests.personas import Team

ADDRESS = "/endpoints/intents/requests"


def test_the_empty_log_offers_to_try(team: Team, endpoint: Endpoint) -> None:
    page = team.viewer.browser().get(ADDRESS).content.decode()
    assert "None has been sampled yet" in page
    assert 'aria-current="page">Requests' in page


def test_the_list_shows_text_label_score_time_and_opens_by_request_id(team: Team, samples_make: SamplesMake) -> None:
    scores = {"refund": 0.7, "card": 0.2, "transfer": 0.1}
    output = {"label": "refund", "score": 0.7, "scores": scores}
    (row,) = samples_make({"text": "<b>我要退款</b>", "label": "refund", "outputs": [output]})
    browser = team.viewer.browser()
    page = browser.get(ADDRESS).content.decode()
    assert "&lt;b&gt;我要退款&lt;/b&gt;" in page
    assert "<b>我要退款" not in page
    for shown in ("70.0 %", "12.0 ms", "transfer", "10.0 %", row.request_id, "tokenize", "2.00 ms", "3.00 ms"):
        assert shown in page, shown
    assert '<details class="request">' in page
    assert '<details class="request" open>' in browser.get(f"{ADDRESS}?request_id={row.request_id}").content.decode()
    fragment = browser.get(f"{ADDRESS}?text=nothing", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in fragment
    assert "fits these filters" in fragment
    assert "cannot be read" in browser.get(f"{ADDRESS}?below=7").content.decode()


def test_older_requests_are_a_page_away(team: Team, samples_make: SamplesMake) -> None:
    samples_make(*(f"text number {n}" for n in range(30)))
    browser = team.viewer.browser()
    first = browser.get(ADDRESS).content.decode()
    assert first.count('<details class="request">') == 25
    older = first.split(">Older<")[0].rsplit('href="', 1)[1].split('"')[0].replace("&amp;", "&")
    second = browser.get(older).content.decode()
    assert second.count('<details class="request">') == 5
    assert "text number 0<" in second
    assert ">Newest<" in second


def test_thumbs_and_corrections(team: Team, samples_make: SamplesMake) -> None:
    (row,) = samples_make("one")
    browser = team.viewer.browser()
    said = {"request_id": row.request_id, "index": "0"}
    fragment = browser.post("/endpoints/intents/feedback", said | {"rating": "up"}, headers={"HX-Request": "true"})
    assert "Called right" in fragment.content.decode()
    assert "<html" not in fragment.content.decode()
    whole = browser.post("/endpoints/intents/feedback", said | {"rating": "", "label": "refund"})
    assert whole.headers["Location"] == f"{ADDRESS}?request_id={row.request_id}"
    page = browser.get(whole.headers["Location"]).content.decode()
    assert "Corrected to refund" in page
    assert "0.0 %" in page
    back = browser.post("/endpoints/intents/feedback", said | {"rating": "up", "label": "refund"})
    assert back.status_code == 302
    assert (Feedback.objects.get().label, Feedback.objects.get().agrees) == ("", True)
    for bad in ({}, {"label": "nonsense"}, {"rating": "up", "index": "99"}, {"rating": "up", "index": "x"}):
        refused = browser.post("/endpoints/intents/feedback", said | bad, headers={"HX-Request": "true"})
        assert refused.status_code == 200
        assert "form-error" in refused.content.decode(), bad
    assert Feedback.objects.count() == 1


def test_corrections_as_files_and_as_a_dataset(
    team: Team, endpoint: Endpoint, samples_make: SamplesMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.jobs.queue.send", lambda name, *args, **options: None)
    Endpoint.objects.filter(pk=endpoint.pk).update(task="text_classification")
    browser = team.developer.browser()
    nothing = browser.post("/endpoints/intents/corrections/dataset")
    assert nothing.status_code == 409
    assert b"Nothing was changed" in nothing.content
    (row,) = samples_make("我要退款")
    browser.post("/endpoints/intents/feedback", {"request_id": row.request_id, "label": "refund", "rating": "down"})
    table = browser.get("/endpoints/intents/corrections").content.decode()
    assert table.splitlines()[1].startswith("我要退款,refund,card,")
    lines = browser.get("/endpoints/intents/corrections?format=jsonl").content.decode()
    assert '"text":"我要退款","label":"refund"' in lines
    assert b"Make a dataset version" not in team.viewer.browser().get(ADDRESS).content
    (other,) = samples_make("卡丢了")
    browser.post("/endpoints/intents/feedback", {"request_id": other.request_id, "label": "card", "rating": "up"})
    browser.post("/endpoints/intents/feedback", {"request_id": other.request_id, "label": "transfer"})
    page = browser.get(ADDRESS).content.decode()
    assert "Make a dataset version" in page
    assert "disabled aria-describedby" not in page
    made = browser.post("/endpoints/intents/corrections/dataset")
    assert made.headers["Location"] == "/datasets/intents-feedback/1/"
    assert DatasetVersion.objects.count() == 1


def test_corrections_of_one_class_are_told_before_anything_is_made(
    team: Team, endpoint: Endpoint, samples_make: SamplesMake
) -> None:
    Endpoint.objects.filter(pk=endpoint.pk).update(task="text_classification")
    browser = team.developer.browser()
    for row in samples_make("one", "two"):
        browser.post("/endpoints/intents/feedback", {"request_id": row.request_id, "label": "refund"})
    page = browser.get(ADDRESS).content.decode()
    assert "All 2 corrections are of the class refund" in page
    assert "<code>refund</code> (2)</span>" in page
    assert "classes of the model have none:" in page
    assert "disabled aria-describedby" in page
    refused = browser.post("/endpoints/intents/corrections/dataset")
    assert refused.status_code == 409
    assert "All 2 corrections are of the class refund" in refused.content.decode()
    answer = team.developer.api("POST", "/endpoints/intents/corrections", {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "one_class")
    assert "Correct an answer of another class too" in answer.json()["error"]["hint"]
    assert not Dataset.objects.filter(name="intents-feedback").exists()


def test_a_text_corrected_twice_counts_once_as_in_the_version(
    team: Team, endpoint: Endpoint, samples_make: SamplesMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the older of two corrections is corrected again: then it is the last one."""
    monkeypatch.setattr("apps.jobs.queue.send", lambda name, *args, **options: None)
    Endpoint.objects.filter(pk=endpoint.pk).update(task="text_classification")
    browser = team.developer.browser()
    first, second, other = samples_make("same", "same", "other")
    for row, label in ((first, "transfer"), (second, "card"), (other, "card"), (first, "refund")):
        browser.post("/endpoints/intents/feedback", {"request_id": row.request_id, "label": label})
    page = browser.get(ADDRESS).content.decode()
    assert "<code>card</code> (1)</span>, <span" in page
    assert "<code>refund</code> (1)</span>" in page
    assert "<code>transfer</code> (" not in page
    written: list[str] = []
    monkeypatch.setattr(
        "apps.monitoring.corrections.version_upload",
        lambda *, files, **rest: written.append(files[0].path.read_text()) or version_upload(files=files, **rest),
    )
    browser.post("/endpoints/intents/corrections/dataset")
    assert sorted(written[0].split()) == ["other,card", "same,refund", "text,label"]


def test_the_settings_of_the_log(team: Team, endpoint: Endpoint) -> None:
    browser = team.developer.browser()
    page = browser.get("/endpoints/intents/?tab=settings").content.decode()
    assert 'name="rate" value="5"' in page
    good = {"rate": "7", "keep_days": "", "patterns": ["card"], "hide_fields": "customer.name, note"}
    assert browser.post("/endpoints/intents/request-log", good).status_code == 302
    endpoint.refresh_from_db()
    assert endpoint.sampling == {"rate": 0.07, "patterns": ["card"], "hide_fields": ["customer.name", "note"]}
    assert TimelineEntry.objects.filter(kind="sampling").exists()
    timeline = browser.get("/endpoints/intents/?tab=timeline").content.decode()
    assert "7 % of the requests kept for 14 days, without card numbers, customer.name, note" in timeline
    for field, value in (("rate", "101"), ("rate", "x"), ("keep_days", "0"), ("hide_fields", "a b")):
        refused = browser.post("/endpoints/intents/request-log", good | {field: value})
        assert refused.status_code == 422
        assert "errorlist" in refused.content.decode()
    viewer = team.viewer.browser().get("/endpoints/intents/?tab=settings").content.decode()
    assert "customer.name, note" in viewer
    assert 'name="rate"' not in viewer
