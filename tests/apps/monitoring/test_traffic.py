"""From the front's files to rows, charts and REST: every request once, whatever dies; values against known traffic."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from apps.deployments.models import Endpoint
from apps.monitoring import importing, traffic
from apps.monitoring.importing import traffic_forget, traffic_import
from apps.monitoring.models import HOUR_S, MINUTE_S, JournalFile, TrafficStat
from modelkit.serving import journal
from modelkit.serving.journal import Journal, Slice
from modelkit.serving.tally import Tally
from tests.apps.monitoring.factory import endpoint_make, slice_of
from tests.personas import Team

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> Path:
    settings.HOME = tmp_path
    settings.BUNDLES_DIR = tmp_path / "bundles"
    settings.BUNDLES_DIR.mkdir()
    return tmp_path / "serving" / "figures"


@pytest.fixture
def endpoint(team: Team, folder: Path) -> Endpoint:
    return endpoint_make(team.workspace)


def now_slice() -> int:
    return int(time.time() - 120) // 60 * 60


def requests(span_s: int = MINUTE_S) -> int:
    return sum(TrafficStat.objects.filter(span_s=span_s).values_list("requests", flat=True))


# --- into rows ---


def test_slices_of_a_minute_are_one_row_and_of_an_hour_too(endpoint: Endpoint, folder: Path) -> None:
    at = now_slice() // 3600 * 3600
    Journal(folder).write([slice_of(endpoint, at + s, answered=3, failed=1) for s in (0, 5, 55, 60, 3599)])
    assert traffic_import() == 5
    minutes = TrafficStat.objects.filter(span_s=MINUTE_S).order_by("at")
    assert [(int(row.at.timestamp()) - at, row.requests, row.errors) for row in minutes] == [
        (0, 12, 3), (60, 4, 1), (3540, 4, 1),
    ]  # fmt: skip
    (hour,) = TrafficStat.objects.filter(span_s=HOUR_S)
    assert (hour.requests, hour.errors) == (20, 5)
    tally = Tally.unpacked(hour.tally)
    assert (tally.inputs, tally.tokens, tally.queue_ms, tally.refused) == (30, 150, 7.5, {(500, "model_failed"): 5})


def test_the_same_file_again_adds_nothing_and_what_follows_is_added_to_its_minute(
    endpoint: Endpoint, folder: Path
) -> None:
    at, written = now_slice(), Journal(folder)
    written.write([slice_of(endpoint, at)])
    assert (traffic_import(), traffic_import()) == (1, 0)
    written.write([slice_of(endpoint, at + 5), slice_of(endpoint, at + 10, revision=2)])
    # Another front, after the first was killed, in the same minute.
    Journal(folder).write([slice_of(endpoint, at + 15)])
    assert traffic_import() == 3
    assert {row.revision: row.requests for row in TrafficStat.objects.filter(span_s=MINUTE_S)} == {1: 3, 2: 1}


def test_a_worker_that_dies_between_rows_and_offset_leaves_neither(
    endpoint: Endpoint, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Journal(folder).write([slice_of(endpoint, now_slice())])
    with monkeypatch.context() as dying:
        whole = importing._rows_add

        def die(slices: Any) -> None:
            whole(slices)
            raise OperationalError("the database went away")

        dying.setattr(importing, "_rows_add", die)
        with pytest.raises(OperationalError):
            traffic_import()
    assert requests() == 0
    assert traffic_import() == 1
    assert (requests(), requests(HOUR_S)) == (1, 1)


def test_two_workers_with_the_same_lines_write_them_once(
    endpoint: Endpoint, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Journal(folder).write([slice_of(endpoint, now_slice())])
    read = journal.read
    with monkeypatch.context() as racing:

        def read_while_another_imports(path: Path, offset: int, **options: Any) -> Any:
            found = read(path, offset, **options)
            racing.setattr(journal, "read", read)
            assert traffic_import() == 1
            return found

        racing.setattr(journal, "read", read_while_another_imports)
        assert traffic_import() == 0
    assert requests() == 1


def test_an_hour_away_is_made_up_for_in_pieces(
    endpoint: Endpoint, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = now_slice() - 3600
    Journal(folder).write([slice_of(endpoint, at, answered=2) for at in range(begin, begin + 3600, 5)])
    whole = journal.read
    monkeypatch.setattr(journal, "read", lambda path, offset: whole(path, offset, limit_bytes=10_000))
    assert traffic_import() == 720
    assert (requests(), requests(HOUR_S)) == (1440, 1440)
    assert TrafficStat.objects.filter(span_s=MINUTE_S).count() == 60


def test_what_nobody_owns_is_passed_over(endpoint: Endpoint, folder: Path) -> None:
    at = now_slice()
    before = int(endpoint.created_at.timestamp()) - 60
    stranger = Slice(at, endpoint.workspace.public_id, "gone", 1, Tally())
    # Of an earlier endpoint with this name; and a damaged line.
    Journal(folder).write([stranger, slice_of(endpoint, before), slice_of(endpoint, at)])
    with journal.files(folder)[0].open("ab") as file:
        file.write(b"\x00\x00 no line\n")
    traffic_import()
    assert requests() == 1
    assert JournalFile.objects.get(name=journal.files(folder)[0].name).offset == journal.files(folder)[0].stat().st_size


def test_files_are_removed_once_read_and_rested(endpoint: Endpoint, folder: Path) -> None:
    Journal(folder).write([slice_of(endpoint, now_slice())])
    (path,) = journal.files(folder)
    traffic_import()
    assert path.exists(), "its front may still write to it"
    long_ago = time.time() - journal.COMPLETE_S - 1
    os.utime(path, (long_ago, long_ago))
    traffic_import()
    assert not path.exists()
    assert not JournalFile.objects.filter(name=path.name).exists()
    assert requests() == 1
    # Nothing is read a second time, nor counted away.
    assert traffic_import() == 0


def test_a_rested_file_that_was_not_read_is_kept_until_it_is(endpoint: Endpoint, folder: Path) -> None:
    Journal(folder).write([slice_of(endpoint, now_slice() - 3600)])
    (path,) = journal.files(folder)
    long_ago = time.time() - journal.COMPLETE_S - 1
    os.utime(path, (long_ago, long_ago))
    assert traffic_import() == 1
    assert not path.exists()
    assert requests() == 1


def test_old_minutes_and_hours_are_forgotten(endpoint: Endpoint) -> None:
    now = timezone.now()
    for span_s, ages in ((MINUTE_S, (1, 7, 9)), (HOUR_S, (9, 399, 401))):
        for days in ages:
            TrafficStat.objects.create(endpoint=endpoint, revision=1, span_s=span_s, at=now - timedelta(days=days))
    traffic_forget()
    kept = [(row.span_s, (now - row.at).days) for row in TrafficStat.objects.order_by("span_s", "-at")]
    assert kept == [(MINUTE_S, 1), (MINUTE_S, 7), (HOUR_S, 9), (HOUR_S, 399)]


# --- out of rows ---


def known_traffic(endpoint: Endpoint, folder: Path) -> int:
    """Two minutes of revision 1, one of revision 2; the last is not imported. Returns the first minute."""
    at, written = int(time.time()) // 60 * 60 - 300, Journal(folder)
    written.write([slice_of(endpoint, at, answered=60, failed=20, latency_ms=4.0)])
    written.write([slice_of(endpoint, at + 60, answered=30, latency_ms=80.0)])
    traffic_import()
    written.write([slice_of(endpoint, at + 60, revision=2, answered=10, latency_ms=1.5)])
    return at


def test_known_traffic_comes_out_over_rest(team: Team, endpoint: Endpoint, folder: Path) -> None:
    at = known_traffic(endpoint, folder)
    answer = team.viewer.api("GET", "/endpoints/intents/metrics?range=hour").json()
    assert (answer["range"], answer["step_s"]) == ("hour", 60)
    whole, second, first = answer["series"]
    assert [series["revision"] for series in answer["series"]] == [None, 2, 1]
    assert (whole["total"]["requests"], whole["total"]["errors"]) == (120, 20)
    assert whole["total"]["error_rate"] == pytest.approx(20 / 120, abs=1e-6)
    assert [datetime.fromisoformat(p["at"]) for p in first["points"]] == [
        datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(at + 60, UTC),
    ]  # fmt: skip
    point = first["points"][0]
    assert (point["requests"], point["answered"], point["requests_per_second"]) == (80, 60, 1.3333)
    assert point["refused"] == {"500 model_failed": 20}
    assert (point["queue_ms"], point["preprocess_ms"], point["model_ms"]) == (0.5, 1.0, 2.0)
    assert (point["batch_inputs"], point["inputs"], point["tokens"]) == (4, 120, 600)
    assert 3 <= point["p50_ms"] <= 4
    assert 75 <= first["points"][1]["p99_ms"] <= 100
    assert (second["total"]["requests"], second["points"][0]["error_rate"]) == (10, 0)


def test_steps_and_ranges_agree_on_the_sum(team: Team, endpoint: Endpoint, folder: Path) -> None:
    known_traffic(endpoint, folder)
    for query in ("range=hour", "range=hour&step=3600", "range=day", "range=day&step=60", "range=week", "range=live"):
        series = team.viewer.api("GET", f"/endpoints/intents/metrics?{query}").json()["series"]
        assert sum(point["requests"] for point in series[0]["points"]) == series[0]["total"]["requests"]
        if "live" not in query:
            assert series[0]["total"]["requests"] == 120, query


def test_live_reads_the_files_without_a_worker(team: Team, endpoint: Endpoint, folder: Path) -> None:
    at = int(time.time()) // 10 * 10 - 60
    Journal(folder).write([slice_of(endpoint, at, answered=50), slice_of(endpoint, at + 10, answered=10)])
    with connection.execute_wrapper(_refuse_writes):
        answer = team.viewer.api("GET", "/endpoints/intents/metrics?range=live").json()
    points = answer["series"][0]["points"]
    assert [(point["requests"], point["requests_per_second"]) for point in points] == [(50, 5.0), (10, 1.0)]


def _refuse_writes(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    assert "monitoring_" not in sql or sql.startswith("SELECT"), sql
    return execute(sql, params, many, context)


@pytest.mark.parametrize(
    ("query", "field"),
    [("range=year", "range"), ("step=7", "step"), ("range=week&step=60", "step"), ("step=x", "step")],
)
def test_a_bad_range_or_step_names_the_field(team: Team, endpoint: Endpoint, query: str, field: str) -> None:
    answer = team.viewer.api("GET", f"/endpoints/intents/metrics?{query}")
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert list(error["fields"]) == [field]
    assert error["hint"]


def test_figures_of_a_time_gone_by(endpoint: Endpoint, folder: Path) -> None:
    at = known_traffic(endpoint, folder)
    traffic_import()
    begin = datetime.fromtimestamp(at + 60, UTC)
    found = traffic.figures_between(endpoint, begin, begin + timedelta(minutes=1))
    assert {number: tally.requests for number, tally in found.items()} == {1: 30, 2: 10}


# --- the page ---


def test_the_tab_before_any_request_offers_the_curl(team: Team, endpoint: Endpoint) -> None:
    page = team.viewer.browser().get("/endpoints/intents/monitor").content.decode()
    assert "No requests yet" in page
    assert "curl " in page
    assert "data-chart" not in page
    assert 'aria-current="page">Monitor' in page


def test_the_tab_tells_known_traffic(team: Team, endpoint: Endpoint, folder: Path) -> None:
    known_traffic(endpoint, folder)
    browser = team.viewer.browser()
    page = browser.get("/endpoints/intents/monitor?range=hour").content.decode()
    assert ">120</dd>" in page
    assert "16.67 %" in page
    assert "model_failed" in page
    assert "revision_p95" in page
    part = browser.get("/endpoints/intents/monitor?range=hour&shown=9", headers={"HX-Request": "true"})
    assert part.content.decode().lstrip().startswith('<div id="monitor-figures"')
    assert ">120</dd>" in part.content.decode()
    assert "HX-Refresh" not in part
    # A range that there is not is the default one: an old bookmark must not break.
    assert browser.get("/endpoints/intents/monitor?range=year").status_code == 200


def test_the_charts_are_drawn_in_the_zone_of_the_platform(
    team: Team, endpoint: Endpoint, folder: Path, settings: Any
) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    at = known_traffic(endpoint, folder)
    figures = team.viewer.browser().get("/endpoints/intents/monitor/figures?range=hour").json()["figures"]
    assert figures["requests"]["x"] == "time, Asia/Shanghai"
    answered, refused, failed = (dict(map(tuple, line["points"])) for line in figures["requests"]["series"])
    clock = (at + 8 * 3600) * 1000
    assert (answered[clock], failed[clock]) == (1.0, pytest.approx(20 / 60, abs=1e-4))
    assert set(refused.values()) == {0}
    assert len(answered) in (60, 61)
    p99, p95, p50 = (dict(map(tuple, line["points"])) for line in figures["latency"]["series"])
    assert p99[clock] >= p95[clock] >= p50[clock] > 3
    assert p50[clock - 60_000] is None, "no request, no latency"
    stages = {line["name"]: dict(map(tuple, line["points"]))[clock] for line in figures["stages"]["series"]}
    assert stages == {"queue": 0.5, "preprocess": 1.0, "model": 2.0, "front": 0.5}
    assert [line["name"] for line in figures["revision_p95"]["series"]] == ["revision 2", "revision 1"]


def test_another_workspace_sees_nothing_of_it(team: Team, endpoint: Endpoint) -> None:
    for address in ("/endpoints/intents/monitor", "/endpoints/intents/monitor/figures"):
        assert team.outsider.browser().get(address).status_code == 404
    assert team.outsider.api("GET", "/endpoints/intents/metrics").status_code == 404
