"""From the front's files to rows, each slice exactly once, and the end of what is old.

The offset of a file and the rows that come of its lines are written in one transaction: whatever dies, on whichever
side of it, the next look goes on where the rows end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from apps.deployments.backend import serving_backend
from apps.deployments.models import Endpoint
from apps.monitoring.models import HOUR_S, MINUTE_S, JournalFile, TrafficStat
from modelkit.serving import journal
from modelkit.serving.journal import SLICE_S, Slice
from modelkit.serving.tally import Tally

logger = logging.getLogger(__name__)

MINUTES_KEPT = timedelta(days=8)
HOURS_KEPT = timedelta(days=400)

#: The row that importers lock, so that two of them do not add to the same minute at once. No file has this name.
_LOCK = "lock"

#: Endpoint id, span, its beginning, revision.
_RowKey = tuple[int, int, datetime, int]


def traffic_import() -> int:
    """Read what the fronts have written since the last time; returns how many slices became rows."""
    imported = 0
    folder = serving_backend().journal
    for path in journal.files(folder):
        try:
            while count := _import_part(path):
                imported += count
            _remove_if_read(path)
        except FileNotFoundError:
            continue
    _offsets_forget(folder)
    return imported


def traffic_forget() -> None:
    """Drop minutes and hours that are older than anybody can ask for."""
    now = timezone.now()
    for span_s, kept in ((MINUTE_S, MINUTES_KEPT), (HOUR_S, HOURS_KEPT)):
        TrafficStat.objects.filter(span_s=span_s, at__lt=now - kept).delete()


def _import_part(path: Path) -> int:
    """About a megabyte of one file; 0 once it is read to its end. Raises FileNotFoundError."""
    known = JournalFile.objects.filter(name=path.name).values_list("offset", flat=True).first() or 0
    if path.stat().st_size <= known:
        return 0
    slices, offset = journal.read(path, known)
    if offset == known:
        return 0
    JournalFile.objects.get_or_create(name=_LOCK)
    JournalFile.objects.get_or_create(name=path.name)
    with transaction.atomic():
        JournalFile.objects.select_for_update().get(name=_LOCK)
        # Another worker may have read the same lines: only one of the two moves the offset and writes the rows.
        if not JournalFile.objects.filter(name=path.name, offset=known).update(offset=offset):
            return 0
        _rows_add(slices)
    return max(1, len(slices))


def _rows_add(slices: Iterable[Slice]) -> None:
    endpoints = {
        (endpoint.workspace.public_id, endpoint.name): endpoint
        for endpoint in Endpoint.objects.select_related("workspace")
    }
    sums: dict[_RowKey, Tally] = {}
    for part in slices:
        endpoint = endpoints.get((part.workspace, part.endpoint))
        # What an endpoint of this name that is gone was asked is nobody's any more.
        if endpoint is None or part.at + SLICE_S < endpoint.created_at.timestamp():
            continue
        for span_s in (MINUTE_S, HOUR_S):
            at = datetime.fromtimestamp(part.at // span_s * span_s, UTC)
            sums.setdefault((endpoint.pk, span_s, at, part.revision), Tally()).add(part.tally)
    for row in _rows_there(sums):
        sums[row.endpoint_id, row.span_s, row.at, row.revision].add(Tally.unpacked(row.tally))
    TrafficStat.objects.bulk_create(
        [
            TrafficStat(
                endpoint_id=pk,
                span_s=span_s,
                at=at,
                revision=revision,
                requests=tally.requests,
                errors=tally.errors,
                tally=tally.packed(),
            )
            for (pk, span_s, at, revision), tally in sorted(sums.items(), key=lambda item: item[0])
        ],
        batch_size=100,
        update_conflicts=True,
        unique_fields=["endpoint", "span_s", "at", "revision"],
        update_fields=["requests", "errors", "tally"],
    )


def _rows_there(keys: Iterable[_RowKey]) -> list[TrafficStat]:
    """The rows of these keys."""
    spans: dict[tuple[int, int], set[datetime]] = {}
    wanted = set(keys)
    for pk, span_s, at, _ in wanted:
        spans.setdefault((pk, span_s), set()).add(at)
    found = []
    for (pk, span_s), moments in sorted(spans.items(), key=lambda item: item[0]):
        rows = TrafficStat.objects.filter(endpoint_id=pk, span_s=span_s, at__range=(min(moments), max(moments)))
        found += [row for row in rows if (pk, span_s, row.at, row.revision) in wanted]
    return found


def _remove_if_read(path: Path) -> None:
    """Delete a file that nobody writes to any more; a torn last line of it is lost with the front that was killed."""
    if not journal.is_complete(path):
        return
    row = JournalFile.objects.filter(name=path.name).first()
    offset = row.offset if row is not None else 0
    if journal.read(path, offset)[1] == offset:
        path.unlink(missing_ok=True)
        JournalFile.objects.filter(name=path.name).delete()


def _offsets_forget(folder: Path) -> None:
    """Offsets of files that are gone, for example because the front needed the room."""
    there = {_LOCK, *(path.name for path in journal.files(folder))}
    gone = [row.pk for row in JournalFile.objects.all() if row.name not in there]
    JournalFile.objects.filter(pk__in=gone).delete()
