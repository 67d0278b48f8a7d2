"""The first batch before the start: asked for once, shown when a worker has made it, honest when it cannot."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from apps.jobs import previews
from apps.jobs.models import Job
from modelkit.wording import pack, say
from tests.apps.jobs.factory import body
from tests.ui.test_wizard import form

CONTENT = {
    "rows": [{"text": "where is my card", "tokens": ["[CLS]", "where", "[UNK]", "[SEP]"], "label": "card"}],
    "shape": [1, 4],
    "max_length": 128,
    "truncated_fraction": 0.25,
    "mean_tokens": 4.0,
    "unknown_fraction": 0.25,
}


@pytest.fixture(autouse=True)
def _own_folder(settings: Any, tmp_path: Any) -> None:
    settings.JOBS_DIR = tmp_path / "jobs"


def only_folder() -> Any:
    (path,) = list(previews.settings.JOBS_DIR.glob(f"{previews.PREFIX}*"))
    return path


def answer(outcome: str = "succeeded", **error: Any) -> None:
    """What a worker's child leaves."""
    (only_folder() / "artifacts").mkdir(exist_ok=True)
    if outcome == "succeeded":
        (only_folder() / "artifacts" / "first_batch.json").write_text(json.dumps(CONTENT))
    (only_folder() / "result.json").write_text(json.dumps({"outcome": outcome, "error": error or None}))


def test_it_is_asked_for_once_and_shown_with_its_unknown_words(ready: Any) -> None:
    browser = ready.developer.browser()
    first = browser.post("/jobs/new/first-batch", form()).content.decode()
    assert "tokenizing your rows" in first
    assert "hx-post" in first
    browser.post("/jobs/new/first-batch", form())
    assert ready.workspace.sent.count("jobs.preview") == 1
    answer()
    shown = browser.post("/jobs/new/first-batch", form()).content.decode()
    assert '<span class="token token-unknown">[UNK]</span>' in shown
    assert "25.0" in shown
    assert "hx-post" not in shown
    assert not Job.objects.exists()


def test_the_api_gives_the_same_batch(ready: Any) -> None:
    waiting = ready.developer.api("POST", "/jobs/preview", body()).json()["first_batch"]
    assert waiting["tokens"] is None
    assert waiting["tokens_reason"]
    answer()
    found = ready.developer.api("POST", "/jobs/preview", body()).json()["first_batch"]
    assert found["tokens"]["rows"] == CONTENT["rows"]
    assert found["tokens_reason"] == ""


def test_other_parameters_are_another_batch(ready: Any) -> None:
    ready.developer.api("POST", "/jobs/preview", body())
    ready.developer.api("POST", "/jobs/preview", body(params={"max_length": 16}))
    assert len(list(previews.settings.JOBS_DIR.glob(f"{previews.PREFIX}*"))) == 2


def test_what_the_user_can_mend_is_said_and_not_tried_again(ready: Any) -> None:
    ready.developer.api("POST", "/jobs/preview", body())
    answer("failed", message="The base model reads at most 64 tokens.", hint="Set 64.")
    browser = ready.developer.browser()
    page = browser.post("/jobs/new/first-batch", form(preset="instant", shown_preset="instant")).content.decode()
    assert "at most 64 tokens. Set 64." in page
    assert ready.workspace.sent.count("jobs.preview") == 1


def test_a_refusal_is_worded_for_who_reads_it(ready: Any) -> None:
    ready.developer.api("POST", "/jobs/preview", body())
    answer("failed", message=pack(say("This task shows its first batch once the job runs.")), hint="")
    reading = form(preset="instant", shown_preset="instant")
    browser = ready.developer.browser()
    page = browser.post("/jobs/new/first-batch", reading, headers={"Accept-Language": "zh-hans"}).content.decode()
    assert "此任务类型在任务运行后显示首个批次。" in page
    assert "This task shows" in browser.post("/jobs/new/first-batch", reading).content.decode()


def test_a_fault_of_ours_is_tried_again_after_a_while(ready: Any) -> None:
    ready.developer.api("POST", "/jobs/preview", body())
    answer("errored", message="The launcher does not answer.")
    old = time.time() - previews.RETRY_S - 1
    os.utime(only_folder() / "result.json", (old, old))
    ready.developer.api("POST", "/jobs/preview", body())
    assert ready.workspace.sent.count("jobs.preview") == 2


def test_a_plan_with_a_problem_has_none(ready: Any) -> None:
    found = ready.developer.api("POST", "/jobs/preview", body(base_model="nothing")).json()
    assert not found["ready"]
    assert "jobs.preview" not in ready.workspace.sent


def test_yesterdays_are_swept(ready: Any) -> None:
    ready.developer.api("POST", "/jobs/preview", body())
    assert previews.previews_forget() == 0
    old = time.time() - previews.KEPT_S - 1
    os.utime(only_folder() / previews.REQUEST, (old, old))
    assert previews.previews_forget() == 1
