"""The list of jobs and the page of workers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.jobs.models import Device, WorkerProcess
from tests.apps.jobs.conftest import ready as ready
from tests.apps.jobs.factory import device_make, job_make
from tests.ui import jobs


def test_an_empty_list_offers_one_action(team: Any) -> None:
    page = team.developer.browser().get("/jobs/").content.decode()
    assert "None has been started here" in page
    assert "<table" not in page


def test_the_list_tells_status_progress_and_place(ready: Any) -> None:
    device_make()
    busy = jobs.running(ready.developer)
    Device.objects.update(job=busy)
    job_make(ready.developer, title="second in line")
    page = ready.viewer.browser().get("/jobs/").content.decode()
    assert "Training" in page
    assert "30 %" in page
    assert "92.6 %" in page
    assert "Queued (#1)" in page
    assert "Waits for a slot" in page


def test_the_list_is_in_the_readers_language(ready: Any) -> None:
    jobs.running(ready.developer)
    page = ready.viewer.browser().get("/jobs/", headers={"accept-language": "zh-hans"}).content.decode()
    assert "准确率, 验证" in page
    assert "validation" not in page


def test_filters_narrow_and_an_unknown_one_is_ignored(ready: Any) -> None:
    jobs.failed(ready.developer)
    job_make(ready.developer, title="apples")
    browser = ready.viewer.browser()
    assert "apples" not in browser.get("/jobs/?status=failed").content.decode()
    assert "apples" in browser.get("/jobs/?search=APPL").content.decode()
    assert "No job fits" in browser.get("/jobs/?kind=compress").content.decode()
    assert "apples" in browser.get("/jobs/?status=nonsense&page=99").content.decode()


def test_another_workspace_sees_no_row(ready: Any) -> None:
    job = job_make(ready.developer, title="apples")
    browser = ready.outsider.browser()
    assert "apples" not in browser.get("/jobs/").content.decode()
    assert "apples" not in browser.get(f"/jobs/rows?ids={job.public_id}").content.decode()


def test_a_refresh_replaces_rows_in_place_and_counts_new_jobs(ready: Any) -> None:
    job = jobs.running(ready.developer)
    job_make(ready.developer, title="apples")
    answer = ready.viewer.browser().get(f"/jobs/rows?ids={job.public_id}&newest={job.number}").content.decode()
    assert f'id="job-{job.public_id}" hx-swap-oob="true"' in answer
    assert "1 new job" in answer
    assert "apples" not in answer


def test_a_filter_answers_with_the_table_alone(ready: Any) -> None:
    job_make(ready.developer)
    answer = ready.viewer.browser().get("/jobs/?search=x", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in answer


def test_workers_are_told_with_what_they_do(ready: Any) -> None:
    device, job = device_make("node-1"), jobs.running(ready.developer)
    Device.objects.filter(pk=device.pk).update(job=job)
    now = timezone.now()
    values = {"queue": "gpu", "pid": 4242, "started_at": now}
    WorkerProcess.objects.create(host="node-1", name="gpu@node-1", seen_at=now, **values)
    WorkerProcess.objects.create(host="node-2", name="gpu@node-2", seen_at=now - timedelta(minutes=9), **values)
    page = ready.viewer.browser().get("/workers/").content.decode()
    assert f'href="/jobs/{job.public_id}/"' in page
    assert "4242" in page
    assert page.index("Reports in") < page.index("node-2") < page.index("Silent")


def test_a_job_of_another_workspace_keeps_its_name(ready: Any) -> None:
    device, job = device_make("node-1"), jobs.running(ready.developer, title="secret merger")
    Device.objects.filter(pk=device.pk).update(job=job)
    page = ready.outsider.browser().get("/workers/").content.decode()
    assert "secret merger" not in page
    assert "Busy for another workspace" in page


def test_without_workers_the_page_says_what_to_do(team: Any) -> None:
    assert "No worker reports in" in team.viewer.browser().get("/workers/").content.decode()
