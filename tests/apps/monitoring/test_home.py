"""The home page: what it tells of an empty workspace, of one at work, and what it keeps from others."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.core.templatetags.ui import sparkline
from apps.datasets.models import Dataset, DatasetVersion, DatasetVersionTransition, VersionStatus
from apps.deployments.models import Canary, Endpoint, EndpointStatus, Revision, RevisionStatus, TimelineEntry
from apps.jobs.models import Job, JobKind, JobStatus, JobTransition
from apps.monitoring.home import attention, overview, search
from apps.monitoring.importing import traffic_import
from apps.monitoring.traffic import last_hour
from modelkit.serving import journal
from modelkit.serving.journal import Journal
from tests.apps.monitoring.factory import endpoint_make, slice_of
from tests.apps.registry.factory import dataset_make, version_make
from tests.personas import Team

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _bundles(settings: Any, tmp_path: Path) -> None:
    settings.HOME = tmp_path
    settings.BUNDLES_DIR = tmp_path / "bundles"
    settings.BUNDLES_DIR.mkdir()


def job_make(workspace: Workspace, number: int = 1, status: str = JobStatus.SUCCEEDED, **values: Any) -> Job:
    values.setdefault("finished_at", timezone.now())
    return Job.objects.create(
        workspace=workspace,
        number=number,
        kind=JobKind.TRAIN,
        task="text_classification",
        title=f"Fine-tune intents {number}",
        spec={"params": {}, "seed": 1, "dataset": {"ref": "tickets@1"}},
        status=status,
        **values,
    )


def titles_done(workspace: Workspace) -> list[bool]:
    return [step.done for step in overview.start_of(workspace).steps]


def test_an_empty_workspace_is_offered_the_sample_and_nothing_else(team: Team) -> None:
    page = team.developer.browser().get("/").content.decode()
    assert page.count("btn-primary") == 1
    assert 'action="/datasets/-/sample/"' in page
    assert 'href="/datasets/-/new/"' in page


def test_a_viewer_is_not_offered_what_would_be_refused(team: Team) -> None:
    page = team.viewer.browser().get("/").content.decode()
    assert "/datasets/-/sample/" not in page
    assert "Ask a developer" in page


def test_the_sample_is_one_click_from_home(team: Team) -> None:
    browser = team.developer.browser()
    response = browser.post("/datasets/-/sample/", {"sample": "tickets"})
    assert response.status_code == 302
    assert Dataset.objects.get(workspace=team.workspace).name == "tickets"
    assert "Getting started" in browser.get("/").content.decode()


def test_each_step_is_judged_by_what_is_there(team: Team) -> None:
    assert titles_done(team.workspace) == [True, False, False, False, False, False, False]
    data = dataset_make(team.workspace)
    assert titles_done(team.workspace) == [True, True, True, False, False, False, False]
    assert overview.start_of(team.workspace).href == "/jobs/new?dataset=tickets%401"
    model = version_make(team.workspace, dataset_version=data)
    version_make(team.workspace, number=2, parent=model)
    assert titles_done(team.workspace) == [True, True, True, True, True, False, False]
    endpoint = Endpoint.objects.create(workspace=team.workspace, name="support", task="text_classification")
    Revision.objects.create(endpoint=endpoint, number=1, model_version=model, weight=100, live_at=timezone.now())
    start = overview.start_of(team.workspace)
    assert [step.done for step in start.steps] == [True, True, True, True, True, True, False]
    assert start.href == "/endpoints/support/"


def test_a_running_job_is_what_the_next_step_points_at(team: Team) -> None:
    dataset_make(team.workspace)
    job = job_make(team.workspace, status=JobStatus.RUNNING, finished_at=None, started_at=timezone.now())
    assert overview.start_of(team.workspace).href == f"/jobs/{job.public_id}/"


def test_the_first_steps_can_be_hidden(team: Team) -> None:
    dataset_make(team.workspace)
    browser = team.developer.browser()
    assert "Getting started" in browser.get("/").content.decode()
    browser.post("/home/hide-start")
    assert "Getting started" not in browser.get("/").content.decode()


def test_the_pipeline_counts_this_workspace_only(team: Team) -> None:
    version_make(team.workspace, dataset_version=dataset_make(team.workspace))
    job_make(team.workspace)
    dataset_make(team.outsider.identity.workspace, "secret")
    job_make(team.outsider.identity.workspace)
    counts = [stage.count for stage in overview.stages_of(team.workspace, last_hour(team.workspace, []))]
    assert counts == [1, 1, 1, 0]
    page = team.viewer.browser().get("/").content.decode()
    assert "secret" not in page
    assert "600 rows" in page


def test_what_needs_a_person_is_told_with_its_remedy(team: Team) -> None:
    mendable = dataset_make(team.workspace)
    mendable.checks = [
        {
            "code": "duplicates",
            "severity": "warn",
            "message": "Two.",
            "count": 2,
            "fix": "drop_duplicates",
            "examples": [],
        }
    ]
    mendable.save()
    other = Dataset.objects.create(workspace=team.workspace, name="reviews", task="text_classification")
    DatasetVersion.objects.create(dataset=other, number=1, status=VersionStatus.NEEDS_MAPPING, prefix="p")
    job_make(team.workspace, 1, JobStatus.FAILED, error={"message": "The learning rate is too high."})
    job_make(team.workspace, 2, JobStatus.ERRORED, finished_at=timezone.now() - timedelta(days=30))
    endpoint = Endpoint.objects.create(
        workspace=team.workspace, name="support", task="text_classification", status=EndpointStatus.FAILED
    )
    Revision.objects.create(
        endpoint=endpoint,
        number=1,
        model_version=version_make(team.workspace),
        status=RevisionStatus.FAILED,
        reason="The graph is damaged.",
    )
    found = attention.attention_of(team.workspace)
    assert [(item.title, item.action) for item in found] == [
        ("support does not answer", "Open"),
        ("Job #1 failed", "Open"),
        ("reviews@1 needs its columns mapped", "Map"),
        ("tickets@1 has 1 problem", "Fix"),
    ]
    assert found[0].detail == "The graph is damaged."
    assert found[3].href == "/datasets/tickets/1/?tab=checks"


def test_a_failed_job_that_was_cloned_is_seen_to(team: Team) -> None:
    failed = job_make(team.workspace, 1, JobStatus.FAILED)
    assert len(attention.attention_of(team.workspace)) == 1
    job_make(team.workspace, 2, JobStatus.SUCCEEDED, cloned_from=failed)
    assert attention.attention_of(team.workspace) == []


def test_a_queue_without_a_worker_is_said(team: Team) -> None:
    job_make(team.workspace, status=JobStatus.QUEUED, finished_at=None)
    assert attention.attention_of(team.workspace)[0].title == "1 job waits for a worker"


def test_the_timeline_tells_all_nouns_newest_first_and_escapes_names(team: Team) -> None:
    data = dataset_make(team.workspace)
    DatasetVersionTransition.objects.create(version=data, to_status=VersionStatus.READY)
    job = job_make(team.workspace, model_name="intents", published=version_make(team.workspace))
    JobTransition.objects.create(job=job, to_status=JobStatus.SUCCEEDED)
    endpoint = Endpoint.objects.create(workspace=team.workspace, name="support", task="text_classification")
    TimelineEntry.objects.create(endpoint=endpoint, kind="live", revision=1, model_ref="<script>")
    page = team.viewer.browser().get("/").content.decode()
    texts = ["<b>&lt;script&gt;</b> is live on <b>support</b>", "Job #1 trained <b>intents@1</b>", "<b>tickets@1</b>"]
    places = [page.index(text) for text in texts]
    assert places == sorted(places)


def test_a_canary_and_sleep_stand_beside_the_state_of_an_endpoint(team: Team) -> None:
    model = version_make(team.workspace)
    make = Endpoint.objects.create
    canary, asleep = (make(workspace=team.workspace, name=name, task="text_classification") for name in ("new", "idle"))
    stable, risen, _quiet = (
        Revision.objects.create(endpoint=endpoint, number=number, model_version=model, weight=weight)
        for endpoint, number, weight in ((canary, 1, 95), (canary, 2, 5), (asleep, 1, 100))
    )
    Canary.objects.create(endpoint=canary, revision=risen, stable=stable, steps=[5, 100], step_s=300)
    asleep.revisions.update(status=RevisionStatus.ASLEEP)
    shown = overview.endpoints_shown(team.workspace)
    found = overview.endpoint_rows(shown, last_hour(team.workspace, shown))
    rows = {row.endpoint.name: [chip.text for chip in row.chips] for row in found}
    assert rows == {"new": ["Ramping"], "idle": ["Asleep"]}
    page = team.viewer.browser().get("/home/live", headers={"HX-Request": "true"}).content.decode()
    assert ">Ramping<" in page
    assert ">Asleep<" in page


# --- what endpoints were asked in the last hour ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the front writes its figures."""
    return tmp_path / "serving" / "figures"


def minute(ago: int) -> int:
    return int(time.time()) // 60 * 60 - ago * 60


def row_of(endpoint: Endpoint) -> overview.EndpointRow:
    (row,) = overview.endpoint_rows([endpoint], last_hour(endpoint.workspace, [endpoint]))
    return row


def live_part(team: Team) -> str:
    page: str = team.viewer.browser().get("/home/live", headers={"HX-Request": "true"}).content.decode()
    return page


def test_an_endpoint_has_its_last_hour_from_rows_and_from_what_no_worker_has_read_yet(team: Team, folder: Path) -> None:
    endpoint, front = endpoint_make(team.workspace), Journal(folder)
    front.write([slice_of(endpoint, minute(61)), slice_of(endpoint, minute(60) + 55, answered=5)])
    front.write([slice_of(endpoint, minute(30), answered=1200, failed=300, latency_ms=8.0)])
    traffic_import()
    front.write([slice_of(endpoint, minute(30) + 5, revision=2, answered=100)])
    row = row_of(endpoint)
    assert row.tally.requests == 1605
    assert row.per_minute == [5, *[0] * 29, 1600, *[0] * 30]
    assert row.error_share == 300 / 1605
    assert row.p95_ms is not None
    assert 7.5 < row.p95_ms <= 10
    page = live_part(team)
    assert 'aria-label="at most 1,600 requests a minute"' in page
    assert "1,605 requests in the last hour" in page
    assert "style=" not in page.partition('<svg class="spark"')[2].partition("</svg>")[0]


def test_the_line_reaches_its_top_where_most_was_asked_and_the_ground_where_nothing_was() -> None:
    drawn = sparkline([0, 4, 2], "at most <4>")
    assert '<polyline points="0.0,23.0 50.0,1.0 100.0,12.0"/>' in drawn
    assert 'aria-label="at most &lt;4&gt;"' in drawn


def test_the_minute_that_goes_on_is_no_fall_of_the_line(team: Team, folder: Path) -> None:
    endpoint, front = endpoint_make(team.workspace), Journal(folder)
    front.write([slice_of(endpoint, minute(1), answered=9), slice_of(endpoint, minute(0), answered=8)])
    assert row_of(endpoint).per_minute == [*[0] * 59, 9]
    assert row_of(endpoint).tally.requests == 17
    front.write([slice_of(endpoint, minute(0), answered=1)])
    assert row_of(endpoint).per_minute == [*[0] * 59, 9, 9]


def test_figures_need_no_front_that_runs(team: Team, folder: Path) -> None:
    endpoint = endpoint_make(team.workspace)
    dataset_make(team.workspace)
    Journal(folder).write([slice_of(endpoint, minute(20), answered=7)])
    assert overview.observed_now() is None
    assert titles_done(team.workspace)[6] is False
    traffic_import()
    assert row_of(endpoint).tally.requests == 7
    assert titles_done(team.workspace)[6] is True


def test_an_endpoint_without_requests_says_so_instead_of_a_line(team: Team) -> None:
    endpoint_make(team.workspace)
    page = live_part(team)
    assert "no requests" in page
    assert "<polyline" not in page


def test_what_a_gone_endpoint_of_the_name_or_another_workspace_was_asked_is_not_counted(
    team: Team, folder: Path
) -> None:
    endpoint = endpoint_make(team.workspace)
    theirs = Endpoint.objects.create(
        workspace=team.outsider.identity.workspace, name=endpoint.name, task="text_classification"
    )
    Endpoint.objects.filter(pk=endpoint.pk).update(created_at=timezone.now() - timedelta(minutes=10))
    endpoint.refresh_from_db()
    Journal(folder).write(
        [slice_of(endpoint, minute(15)), slice_of(theirs, minute(5)), slice_of(endpoint, minute(5), answered=2)]
    )
    assert row_of(endpoint).tally.requests == 2
    assert last_hour(team.workspace, []).requests == 2


def test_many_endpoints_cost_no_more_queries_and_files_than_one(
    team: Team, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    read = journal.read

    def counted(path: Path, *args: Any, **options: Any) -> Any:
        reads.append(path)
        return read(path, *args, **options)

    def cost() -> tuple[int, int]:
        reads.clear()
        with CaptureQueriesContext(connection) as queries:
            shown = overview.endpoints_shown(team.workspace)
            overview.endpoint_rows(shown, last_hour(team.workspace, shown))
        return len(queries), len(reads)

    monkeypatch.setattr(journal, "read", counted)
    first = endpoint_make(team.workspace)
    front = Journal(folder)
    front.write([slice_of(first, minute(9))])
    traffic_import()
    front.write([slice_of(first, minute(3))])
    one = cost()
    model = first.revisions.get().model_version
    for name in "abcde":
        endpoint = Endpoint.objects.create(workspace=team.workspace, name=name, task="text_classification")
        for number, weight in ((1, 60), (2, 40)):
            Revision.objects.create(endpoint=endpoint, number=number, model_version=model, weight=weight)
        front.write([slice_of(endpoint, minute(0))])
    assert cost() == one
    assert one[1] == 1


def test_the_live_part_holds_pipeline_jobs_and_endpoints(team: Team) -> None:
    dataset_make(team.workspace)
    job_make(team.workspace, status=JobStatus.RUNNING, finished_at=None, started_at=timezone.now(), progress=0.71)
    answer = team.viewer.browser().get("/home/live", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in answer
    assert "71 %" in answer
    for part in ("home-pipeline", "home-jobs", "home-endpoints"):
        assert f'id="{part}"' in answer


def test_health_is_a_line_that_names_what_is_down(team: Team, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    answer = team.viewer.browser().get("/home/health").content.decode()
    assert "Does not answer" in answer
    assert "Redis" in answer


def test_search_finds_every_noun_of_the_workspace_and_no_other(team: Team) -> None:
    dataset_make(team.workspace, "support-tickets")
    dataset_make(team.outsider.identity.workspace, "support-secret")
    version_make(team.workspace, name="support-intents")
    Endpoint.objects.create(workspace=team.workspace, name="support", task="text_classification")
    job_make(team.workspace, 48, model_name="support-intents")
    found = [hit.title for hit in search.search(team.workspace, "support")]
    assert found == ["support-tickets", "#48 Fine-tune intents 48", "support-intents", "support"]
    assert [hit.title for hit in search.search(team.workspace, "#48")] == ["#48 Fine-tune intents 48"]
    assert search.search(team.workspace, "  ") == []


def test_search_answers_a_page_and_a_fragment(team: Team) -> None:
    dataset_make(team.workspace)
    browser = team.viewer.browser()
    assert "<html" in browser.get("/search?q=tick").content.decode()
    fragment = browser.get("/search?q=tick", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in fragment
    assert 'href="/datasets/tickets/"' in fragment
    assert "Nothing is called" in browser.get("/search?q=<x>").content.decode()
    assert "<x>" not in browser.get("/search?q=<x>").content.decode()
