"""Who runs what: order, devices, leases, adoption, requeue; every change only by whom it belongs to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.jobs import services
from apps.jobs.models import Device, Job, JobStatus, JobTransition
from apps.jobs.selectors.queue import queue_order, queue_places
from tests.apps.jobs.factory import dataset_make, device_make, job_make


def claim(owner: str = "a", host: str = "here") -> Job:
    job = services.job_claim(owner=owner, host=host)
    assert job is not None
    return job


def expire(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def test_priority_goes_first_then_age(ready: Any) -> None:
    first, second = job_make(ready.developer), job_make(ready.developer)
    urgent = job_make(ready.developer, priority=5)
    assert queue_order() == [urgent.pk, first.pk, second.pk]


def test_a_team_with_many_jobs_does_not_hold_up_another(ready: Any) -> None:
    mine = [job_make(ready.developer).pk for _ in range(3)]
    dataset_make(ready.outsider.identity.workspace)
    theirs = [job_make(ready.outsider).pk for _ in range(2)]
    assert queue_order() == [mine[0], theirs[0], mine[1], theirs[1], mine[2]]
    device_make()
    assert claim().pk == mine[0]
    assert queue_order() == [theirs[0], mine[1], theirs[1], mine[2]]


def test_places_count_over_all_workspaces_and_give_a_reason(ready: Any) -> None:
    jobs = [job_make(ready.developer) for _ in range(3)]
    assert "No worker" in queue_places()[jobs[0].pk].reason
    device_make()
    places = queue_places()
    assert [places[job.pk].position for job in jobs] == [1, 2, 3]
    assert "about to" in places[jobs[0].pk].reason
    assert "busy" in places[jobs[1].pk].reason


def test_a_device_takes_one_job(ready: Any) -> None:
    first, second = job_make(ready.developer), job_make(ready.developer)
    device_make()
    job = claim()
    assert (job.pk, job.status, job.attempt, job.host) == (first.pk, "running", 1, "here")
    assert services.job_claim(owner="b", host="here") is None
    services.job_finish(job=job, owner="a", status=JobStatus.FAILED, reason="x")
    assert claim("b").pk == second.pk


def test_a_host_without_a_free_device_claims_nothing(ready: Any) -> None:
    job_make(ready.developer)
    device_make("there")
    assert services.job_claim(owner="a", host="here") is None


def test_only_the_holder_of_the_lease_changes_the_job(ready: Any) -> None:
    job_make(ready.developer)
    device_make()
    job = claim()
    assert services.job_heartbeat(job=job, owner="a")
    assert not services.job_heartbeat(job=job, owner="b")
    for change in (
        lambda: services.job_finish(job=job, owner="b", status=JobStatus.SUCCEEDED, reason="x"),
        lambda: services.job_requeue(job=job, owner="b", reason="x", crashed=False),
        lambda: services.job_apply_events(job=job, owner="b", events=[], offset=5),
        lambda: services.job_cancel_requested(job=job, owner="b"),
    ):
        with pytest.raises(services.LeaseLost):
            change()
    job.refresh_from_db()
    assert (job.status, job.event_offset) == ("running", 0)


def test_an_expired_lease_is_adopted_once(ready: Any) -> None:
    job_make(ready.developer)
    device_make()
    job = claim()
    assert services.job_adopt(owner="b", host="here") is None
    expire(job)
    assert services.job_adopt(owner="b", host="elsewhere") is None
    adopted = services.job_adopt(owner="b", host="here")
    assert adopted is not None
    assert (adopted.pk, adopted.attempt, adopted.lease_owner) == (job.pk, 1, "b")
    assert services.job_adopt(owner="c", host="here") is None
    assert not services.job_heartbeat(job=job, owner="a")


def test_a_released_job_is_adopted_at_once(ready: Any) -> None:
    job_make(ready.developer)
    device_make()
    job = claim()
    services.job_release(job=job, owner="a")
    assert services.job_adopt(owner="b", host="here") is not None


def test_a_job_of_a_host_that_is_gone_goes_elsewhere(ready: Any) -> None:
    job_make(ready.developer)
    device_make()
    job = claim()
    Job.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(minutes=6))
    services.worker_report(host="here", name="w", queue="gpu", pid=1, started_at=timezone.now(), details={})
    assert services.job_adopt(owner="b", host="elsewhere") is None
    services.worker_gone(name="w")
    assert services.job_adopt(owner="b", host="elsewhere") is not None


def test_a_crash_counts_and_a_stop_does_not(ready: Any) -> None:
    job_make(ready.developer)
    device_make()
    for _ in range(5):
        assert services.job_requeue(job=claim(), owner="a", reason="stopped", crashed=False)
    for _ in range(services.MAX_CRASHES - 1):
        assert services.job_requeue(job=claim(), owner="a", reason="died", crashed=True)
    last = claim()
    assert not services.job_requeue(job=last, owner="a", reason="died", crashed=True)
    assert Job.objects.get(pk=last.pk).status == "running"


def test_the_sweep_wakes_a_worker_only_where_one_is_needed(ready: Any) -> None:
    sent = ready.workspace.sent
    assert services.job_sweep() == {"freed": 0, "orphaned": 0, "claimable": 0}
    job_make(ready.developer)
    services.job_sweep()
    assert sent == []
    device_make()
    services.job_sweep()
    assert sent == ["jobs.look"]
    job = claim()
    services.job_sweep()
    assert sent == ["jobs.look"]
    expire(job)
    services.job_sweep()
    assert sent == ["jobs.look"] * 2


def test_the_sweep_frees_a_device_whose_job_has_ended(ready: Any) -> None:
    job_make(ready.developer)
    device_make()
    job = claim()
    Job.objects.filter(pk=job.pk).update(status="failed")
    assert services.job_sweep()["freed"] == 1
    assert Device.objects.get().job is None


def test_cancelling_while_queued_ends_the_job_at_once(ready: Any) -> None:
    job = job_make(ready.developer)
    services.job_cancel(by=ready.developer.identity, job=job)
    assert job.status == "cancelled"
    device_make()
    assert services.job_claim(owner="a", host="here") is None
    assert [t.to_status for t in JobTransition.objects.filter(job=job)] == ["queued", "cancelled"]


def test_cancelling_while_running_asks(ready: Any) -> None:
    job = job_make(ready.developer)
    device_make()
    claim()
    services.job_cancel(by=ready.developer.identity, job=job)
    services.job_cancel(by=ready.developer.identity, job=job)
    assert job.status == "running"
    assert services.job_cancel_requested(job=job, owner="a")


def test_a_device_that_is_gone_is_withdrawn(ready: Any) -> None:
    gpu = {"title": "GPU", "memory_bytes": 1}
    services.devices_report(host="here", devices=[{"name": "cuda:0", **gpu}, {"name": "cuda:1", **gpu}])
    services.devices_report(host="here", devices=[{"name": "cuda:1", **gpu}])
    assert [device.name for device in Device.objects.all()] == ["cuda:1"]
