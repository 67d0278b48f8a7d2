"""From segments to rows: once each, whoever is killed; and the end of rows."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import ApiToken
from apps.deployments import services
from apps.deployments.applying import deployment_apply
from apps.deployments.models import Endpoint
from apps.monitoring import sampling
from apps.monitoring.models import Feedback, RequestSample
from modelkit.serving.segments import SegmentWriter, segments
from tests.apps.monitoring.requests.conftest import SamplesMake, line, segment_write
from tests.modelkit.serving.toys import Host, wait_until
from tests.personas import Team


def test_a_line_becomes_a_row(team: Team, endpoint: Endpoint, samples_make: SamplesMake, home: Path) -> None:
    token = ApiToken.objects.filter(workspace=team.workspace).first()
    assert token is not None
    (row,) = samples_make({"texts": ["退款在哪里", {"a": 1}], "label": "refund", "score": 0.4, "key": token.sha256})
    assert (row.endpoint, row.revision, row.model_ref, row.status) == (endpoint, 1, "intents@1", 200)
    assert (row.text, row.labels, row.min_score) == ('退款在哪里\n{"a":1}', "\nrefund\nrefund\n", 0.4)
    assert (row.total_ms, row.queue_ms, row.preprocess_ms, row.model_ms) == (12.0, 1.0, 2.0, 6.0)
    assert (row.batch, row.tokens, row.key_name, row.items) == (4, 9, token.name, 2)
    assert segments(home / "serving" / "samples") == []


def test_a_kill_between_the_rows_and_the_segments_end_doubles_nothing(
    endpoint: Endpoint, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment_write(home, line(endpoint), line(endpoint))
    with monkeypatch.context() as patched:
        # The rows are committed and the segment is still there: as after a kill at this point.
        patched.setattr(Path, "unlink", _killed)
        with pytest.raises(KeyboardInterrupt):
            sampling.samples_import()
    assert RequestSample.objects.count() == 2
    assert sampling.samples_import() == 2
    assert RequestSample.objects.count() == 2
    assert sampling.samples_import() == 0


def _killed(*args: Any, **kwargs: Any) -> None:
    raise KeyboardInterrupt


def test_a_segment_being_written_waits(endpoint: Endpoint, home: Path) -> None:
    writer = SegmentWriter(home / "serving" / "samples")
    writer.append(b'{"n":1}\n')
    assert sampling.samples_import() == 0
    writer.close()
    assert sampling.samples_import() == 1


def test_lines_of_a_deleted_endpoint_or_of_another_shape_cost_nothing_else(endpoint: Endpoint, home: Path) -> None:
    good = line(endpoint)
    segment_write(home, line(endpoint) | {"endpoint": "gone"}, {"workspace": endpoint.workspace.public_id}, good)
    segment_write(home, line(endpoint, cost=[1.0]), line(endpoint, outputs=[3]))
    sampling.samples_import()
    assert RequestSample.objects.get().sample_id == good["id"]


@pytest.mark.parametrize(
    "value", [{"tokens": 2**63}, {"model": "m" * 500}, {"status": "200 OK"}, {"revision": -1}, {"at": 1e300}]
)
def test_a_line_that_the_database_would_refuse_holds_up_nothing(
    endpoint: Endpoint, home: Path, value: dict[str, Any]
) -> None:
    bad = line(endpoint)
    if "tokens" in value:
        bad["cost"][4] = value["tokens"]
    else:
        bad |= value
    segment_write(home, bad, line(endpoint, ""))
    assert sampling.samples_import() == 2
    assert [row.text for row in RequestSample.objects.all()] == [""]
    assert segments(home / "serving" / "samples") == []


def test_retention_is_the_endpoints_own(
    team: Team, endpoint: Endpoint, samples_make: SamplesMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = timedelta(days=1).total_seconds()
    old, new = samples_make({"at": time.time() - 8 * day}, {"at": time.time() - 6 * day})
    sampling.samples_forget()
    assert RequestSample.objects.count() == 2
    services.endpoint_update(by=team.developer.identity, endpoint=endpoint, sampling={"keep_days": 7})
    assert sampling.samples_forget() == 1
    assert not RequestSample.objects.filter(pk=old.pk).exists()
    assert RequestSample.objects.filter(pk=new.pk).exists()
    *_, last = samples_make("one", "two", "three")
    monkeypatch.setattr(sampling, "MAX_SAMPLES", 2)
    sampling.samples_forget()
    assert list(RequestSample.objects.order_by("pk").values_list("text", flat=True)) == ["two", last.text]


def test_feedback_is_bounded_too(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        Feedback.objects.create(endpoint=endpoint, request_id=f"r{number}", rating="up", agrees=True)
    monkeypatch.setattr(sampling, "MAX_FEEDBACK", 3)
    sampling.samples_forget()
    assert list(Feedback.objects.order_by("pk").values_list("request_id", flat=True)) == ["r2", "r3", "r4"]


def test_feedback_that_an_import_missed_is_joined_later(endpoint: Endpoint, samples_make: SamplesMake) -> None:
    (row,) = samples_make("one")
    missed = Feedback.objects.create(endpoint=endpoint, request_id=row.request_id, label="refund", at=timezone.now())
    sampling.samples_forget()
    missed.refresh_from_db()
    assert (missed.predicted, missed.revision, missed.agrees) == ("card", 1, False)


def test_feedback_of_requests_that_were_never_sampled_costs_no_query_each(
    endpoint: Endpoint, django_assert_max_num_queries: Any
) -> None:
    rows = [Feedback(endpoint=endpoint, request_id=f"never-{i}", rating="up", agrees=True) for i in range(50)]
    Feedback.objects.bulk_create(rows)
    with django_assert_max_num_queries(10):
        sampling.samples_forget()


def test_from_the_serving_port_to_the_row(team: Team, endpoint: Endpoint, host: Host) -> None:
    """Through the real agent, front and runner: the settings arrive there, and the request comes back as a row."""
    services.endpoint_update(by=team.developer.identity, endpoint=endpoint, sampling={"rate": 1})
    deployment_apply()
    answer = host.predict("intents", "refund for ann@example.org", token=team.developer.token).json()

    def look() -> RequestSample | None:
        sampling.samples_import()
        return RequestSample.objects.filter(request_id=answer["request_id"]).first()

    row = wait_until(look, what="the row")
    assert row.inputs == ["refund for [email]"]
    assert row.outputs == answer["outputs"]
    assert (row.key_name, row.revision, row.model_ref) == ("tests", 1, "intents@1")
    said = team.viewer.api("POST", "/feedback", {"request_id": answer["request_id"], "label": "card"})
    assert (said.status_code, said.json()["predicted"], said.json()["agrees"]) == (201, "refund", False)
