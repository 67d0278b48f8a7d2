"""A job's page: each tab in each state, the data of charts, and buttons that work or say why not."""

from __future__ import annotations

from typing import Any

import pytest

from apps.core.templatetags.ui import duration
from apps.jobs.models import Job, JobStatus
from apps.jobs.selectors.timing import left_s
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from tests.apps.jobs.conftest import ready as ready
from tests.apps.jobs.factory import job_make
from tests.ui import jobs

TABS = ("", "charts", "samples", "logs", "checkpoints", "config", "artifacts")


@pytest.mark.parametrize("make", [job_make, jobs.running, jobs.succeeded, jobs.failed])
def test_every_tab_of_every_state(ready: Any, make: Any) -> None:
    job = make(ready.developer)
    browser = ready.viewer.browser()
    for tab in TABS:
        assert browser.get(f"/jobs/{job.public_id}/{tab}").status_code == 200, tab
    assert browser.get(f"/jobs/{job.public_id}/nonsense").status_code == 404


@pytest.mark.parametrize(
    "path", ["", "live", "results", "curves", "confusion", "log", "per-class.csv", "artifacts/samples"]
)
def test_another_workspace_finds_nothing(ready: Any, path: str) -> None:
    job = jobs.succeeded(ready.developer)
    assert ready.viewer.browser().get(f"/jobs/{job.public_id}/{path}").status_code == 200
    assert ready.outsider.browser().get(f"/jobs/{job.public_id}/{path}").status_code == 404


def test_a_running_job_tells_phase_progress_and_time(ready: Any) -> None:
    job = jobs.running(ready.developer)
    page = ready.viewer.browser().get(f"/jobs/{job.public_id}/").content.decode()
    assert "Step 12 of 40" in page
    assert f"{duration(left_s(job))} left" in page
    assert "92.6 %" in page
    assert "so far" in page
    assert 'aria-current="step"' in page


def test_results_are_compared_with_the_champion(ready: Any) -> None:
    job = jobs.succeeded(ready.developer)
    model = RegisteredModel.objects.create(workspace=ready.workspace, name=job.model_name, task=job.task)
    version = ModelVersion.objects.create(model=model, number=2, metrics={"accuracy": 0.922}, bundle_digest="d")
    Alias.objects.create(model=model, name="champion", version=version)
    page = ready.viewer.browser().get(f"/jobs/{job.public_id}/").content.decode()
    assert "+2.8 pp against intents@2" in page


def test_the_commonest_mistakes_are_listed(ready: Any) -> None:
    job = jobs.succeeded(ready.developer)
    page = ready.viewer.browser().get(f"/jobs/{job.public_id}/results").content.decode()
    assert "4 of 200 rows wrong" in page
    assert page.index("<code>class_03</code>") < page.index("taken for") < page.index("<code>class_04</code>")


def test_many_classes_are_shown_as_the_most_confused_with_the_rest_summed(ready: Any) -> None:
    job = jobs.succeeded(ready.developer)
    browser = ready.viewer.browser()
    few = browser.get(f"/jobs/{job.public_id}/confusion").json()["figures"]["confusion"]
    every = browser.get(f"/jobs/{job.public_id}/confusion?every=1").json()["figures"]["confusion"]
    assert len(few["rows"]) == 12
    assert {"class_03", "class_04"} <= set(few["rows"])
    assert sum(cell[2] for cell in few["cells"] if cell[1] == 0) == 10
    assert every["rows"] == jobs.LABELS
    assert sum(cell[2] for cell in every["cells"]) == 200


def test_curves_have_a_line_for_each_split(ready: Any) -> None:
    job = jobs.running(ready.developer)
    figures = ready.viewer.browser().get(f"/jobs/{job.public_id}/curves").json()["figures"]
    assert list(figures) == ["loss", "accuracy"]
    assert [line["role"] for line in figures["loss"]["series"]] == ["train", "validation"]
    assert figures["accuracy"]["series"][0]["points"] == [[10, 92.6]]
    assert figures["accuracy"]["percent"]


def test_the_log_is_followed_from_where_one_is(ready: Any) -> None:
    job = jobs.running(ready.developer)
    browser = ready.viewer.browser()
    first = browser.get(f"/jobs/{job.public_id}/log").json()
    jobs.log_append(job, "14:43:09 INFO Step 13 of 40")
    more = browser.get(f"/jobs/{job.public_id}/log?after={first['next']}").json()
    assert more["lines"] == ["14:43:09 INFO Step 13 of 40"]
    assert not more["final"]
    assert browser.get(f"/jobs/{job.public_id}/log?after=-5").json()["lines"] == [*first["lines"], *more["lines"]]


def test_texts_of_users_are_never_markup(ready: Any) -> None:
    job = jobs.succeeded(ready.developer)
    page = ready.viewer.browser().get(f"/jobs/{job.public_id}/samples?rows=random").content.decode()
    assert "where &lt;b&gt;is&lt;/b&gt; it" in page
    assert '<span class="token">##is</span>' in page


def test_the_table_of_classes_is_safe_in_a_spreadsheet(ready: Any) -> None:
    job = jobs.succeeded(ready.developer)
    lines = ready.viewer.browser().get(f"/jobs/{job.public_id}/per-class.csv").content.decode("utf-8-sig").splitlines()
    assert lines[0] == "label,precision,recall,f1,support,split"
    assert lines[1].startswith("'=1+1,1.0,")
    assert len(lines) == 21


def test_an_error_card_has_cause_remedy_button_and_traceback(ready: Any) -> None:
    job = jobs.failed(ready.developer, traceback="Traceback: here")
    page = ready.developer.browser().get(f"/jobs/{job.public_id}/").content.decode()
    assert "Only one class is left." in page
    assert "Add rows of another class." in page
    assert "Clone and change it" in page
    assert page.index("<summary>Technical details</summary>") < page.index("Traceback: here")


def test_out_of_memory_offers_the_preset_for_it(ready: Any) -> None:
    job = jobs.failed(ready.developer, code="out_of_memory")
    page = ready.developer.browser().get(f"/jobs/{job.public_id}/").content.decode()
    address = f"/jobs/new?clone={job.public_id}&amp;preset=low_memory"
    assert address in page
    form = ready.developer.browser().get(address.replace("&amp;", "&")).content.decode()
    assert 'value="low_memory" checked' in form


def test_the_page_is_told_when_results_arrive(ready: Any) -> None:
    job = jobs.running(ready.developer)
    browser = ready.viewer.browser()
    seen = browser.get(f"/jobs/{job.public_id}/live").context["seen"]
    quiet = browser.get(f"/jobs/{job.public_id}/live?seen={seen}")
    assert "HX-Trigger" not in quiet
    assert 'id="job-actions"' not in quiet.content.decode()
    Job.objects.filter(pk=job.pk).update(status=JobStatus.CANCELLED, phase="", finished_at=job.started_at)
    ended = browser.get(f"/jobs/{job.public_id}/live?seen={seen}")
    assert "job-results" in ended["HX-Trigger"]
    assert 'hx-trigger="tick' not in ended.content.decode()


# --- buttons --------------------------------------------------------------------------------------------------------


def test_cancel_while_queued_and_while_running(ready: Any) -> None:
    browser = ready.developer.browser()
    queued, moving = job_make(ready.developer), jobs.running(ready.developer)
    page = browser.post(f"/jobs/{queued.public_id}/do/cancel", follow=True).content.decode()
    assert "Cancelled" in page
    page = browser.post(f"/jobs/{moving.public_id}/do/cancel", follow=True).content.decode()
    assert "the job stops at its next step" in page
    moving.refresh_from_db()
    assert moving.cancel_requested_at is not None


def test_retry_queues_again_and_says_so(ready: Any) -> None:
    job = jobs.failed(ready.developer)
    page = ready.developer.browser().post(f"/jobs/{job.public_id}/do/retry", follow=True).content.decode()
    assert "Queued (#1)" in page
    job.refresh_from_db()
    assert job.status == JobStatus.QUEUED


def test_resume_without_a_checkpoint_is_disabled_and_refused(ready: Any) -> None:
    job = jobs.failed(ready.developer)
    browser = ready.developer.browser()
    assert "No checkpoint was written before it stopped." in browser.get(f"/jobs/{job.public_id}/").content.decode()
    page = browser.post(f"/jobs/{job.public_id}/do/resume", follow=True).content.decode()
    assert "There is no checkpoint to go on from." in page
    job.refresh_from_db()
    assert job.status == JobStatus.FAILED


def test_a_viewer_has_no_working_button(ready: Any) -> None:
    job = jobs.running(ready.developer)
    browser = ready.viewer.browser()
    page = browser.get(f"/jobs/{job.public_id}/").content.decode()
    assert "This needs the role Developer." in page
    assert f"/jobs/{job.public_id}/do/" not in page
    assert browser.post(f"/jobs/{job.public_id}/do/cancel").status_code == 403
    assert ready.outsider.browser().post(f"/jobs/{job.public_id}/do/cancel").status_code == 404
    assert ready.developer.browser().get(f"/jobs/{job.public_id}/do/cancel").status_code == 405
    assert ready.developer.browser().post(f"/jobs/{job.public_id}/do/nonsense").status_code == 404
