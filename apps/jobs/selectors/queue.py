"""Who is next, who waits, and for what. The claim and the page use the same order."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from apps.jobs.models import Device, Job, JobStatus
from apps.jobs.selectors.timing import left_s

#: A host that has not reported for this long offers no device.
DEVICE_FRESH = timedelta(seconds=45)


@dataclass(frozen=True)
class Place:
    """A queued job's place in the queue of the whole installation, counted from 1."""

    position: int
    reason: str
    wait_s: float | None


def queue_order() -> list[int]:
    """Primary keys of claimable jobs, next first: by priority, then the workspace with the least running, then age.

    Each job taken counts for its workspace at once, so that a team which queues twenty jobs does not hold up another's
    first one.
    """
    load = Counter(Job.objects.filter(status=JobStatus.RUNNING).values_list("workspace_id", flat=True))
    waiting: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    rows = (
        Job.objects.filter(status=JobStatus.QUEUED, cancel_requested_at=None)
        .order_by("queued_at", "pk")
        .values_list("pk", "priority", "workspace_id")
    )
    age = {}
    for index, (pk, priority, workspace) in enumerate(rows):
        waiting[-priority][workspace].append(pk)
        age[pk] = index
    return [pk for priority in sorted(waiting) for pk in _fair(waiting[priority], load, age)]


def _fair(lanes: dict[int, list[int]], load: Counter[int], age: dict[int, int]) -> Iterator[int]:
    heap = [(load[workspace], age[lane[0]], workspace, 0) for workspace, lane in lanes.items()]
    heapq.heapify(heap)
    while heap:
        _count, _age, workspace, index = heapq.heappop(heap)
        lane = lanes[workspace]
        yield lane[index]
        load[workspace] += 1
        if index + 1 < len(lane):
            heapq.heappush(heap, (load[workspace], age[lane[index + 1]], workspace, index + 1))


def queue_places() -> dict[int, Place]:
    """The place of every queued job, by primary key."""
    order = queue_order()
    if not order:
        return {}
    fresh = Device.objects.filter(seen_at__gte=timezone.now() - DEVICE_FRESH)
    slots = fresh.count()
    free = fresh.filter(job=None).count()
    seconds = dict(Job.objects.filter(pk__in=order).values_list("pk", "predicted__seconds"))
    ahead = sum(_remaining_s(job) for job in Job.objects.filter(status=JobStatus.RUNNING))
    places = {}
    for position, pk in enumerate(order, start=1):
        if slots == 0:
            places[pk] = Place(position, _("No worker with a device reports in; it starts when one does."), None)
        elif position <= free:
            places[pk] = Place(position, _("A worker is about to take it."), 0.0)
        else:
            places[pk] = Place(position, _("Waits for a slot: all of them are busy."), ahead / slots)
        ahead += float(seconds.get(pk) or 0)
    return places


def _remaining_s(job: Job) -> float:
    eta = left_s(job)
    if eta is not None:
        return float(eta)
    predicted = float(job.predicted.get("seconds") or 0)
    elapsed = (timezone.now() - job.started_at).total_seconds() if job.started_at else 0.0
    return max(0.0, predicted - elapsed)
