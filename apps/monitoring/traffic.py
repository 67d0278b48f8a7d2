"""What an endpoint was asked over a span of time, by revision, in equal steps.

Rows tell of what has been imported, the front's files of the seconds since, so that figures are a few seconds old at
most, also while no worker runs.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import Sum
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from apps.accounts.models import Workspace
from apps.core.errors import Invalid
from apps.deployments.backend import serving_backend
from apps.deployments.models import Endpoint
from apps.monitoring.models import HOUR_S, MINUTE_S, JournalFile, TrafficStat
from modelkit.serving import journal
from modelkit.serving.journal import SLICE_S, Slice
from modelkit.serving.tally import Tally, summed

#: A slice is on disk this long after its end at the latest, on an idle machine.
_WRITTEN_AFTER_S = 2


@dataclass(frozen=True)
class Range:
    """A span that ends now. `steps_s` are the steps that it may be cut into; the first is the default."""

    name: str
    title: str | Promise
    length_s: int
    steps_s: tuple[int, ...]


RANGES: Mapping[str, Range] = {
    found.name: found
    for found in (
        Range("live", pgettext_lazy("span of time", "Live"), 300, (10, 5, 30, 60)),
        Range("hour", gettext_lazy("Hour"), 3600, (60, 300, 600, 900, 1800, 3600)),
        Range("day", gettext_lazy("Day"), 86400, (600, 60, 300, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)),
        Range("week", gettext_lazy("Week"), 7 * 86400, (3600, 600, 900, 1800, 7200, 14400, 21600, 43200, 86400)),
    )
}


@dataclass(frozen=True)
class Traffic:
    """`steps[revision][beginning of the step, epoch seconds]`; a step without a request is left out.

    `until` is how far the figures reach; the last step may end later.
    """

    span: Range
    step_s: int
    start: int
    until: int
    steps: Mapping[int, Mapping[int, Tally]]

    @property
    def moments(self) -> range:
        """The beginnings of all steps."""
        return range(self.start, self.until, self.step_s)

    def length_s(self, moment: int) -> int:
        """Of the step that begins at `moment`, as far as it is over."""
        return max(1, min(self.step_s, self.until - moment))

    def by_moment(self, revision: int | None = None) -> dict[int, Tally]:
        """Of one revision; None for all of them together."""
        if revision is not None:
            return dict(self.steps.get(revision, {}))
        moments = {moment for steps in self.steps.values() for moment in steps}
        return {m: summed(steps[m] for steps in self.steps.values() if m in steps) for m in sorted(moments)}

    def total(self, revision: int | None = None) -> Tally:
        chosen = self.steps.values() if revision is None else [self.steps.get(revision, {})]
        return summed(tally for steps in chosen for tally in steps.values())

    @property
    def revisions(self) -> list[int]:
        """Those that had requests, the newest first; 0 stands for requests refused before one was chosen."""
        return sorted(self.steps, reverse=True)


def traffic_of(endpoint: Endpoint, name: str, step_s: int | None = None) -> Traffic:
    """Raises Invalid for a range or a step that there is not."""
    chosen = RANGES.get(name)
    if chosen is None:
        fields = {"range": _("There is no range “%(name)s”.") % {"name": name[:40]}}
        raise Invalid(_("The figures cannot be shown."), fields=fields, hint=_("Choose from: %s.") % ", ".join(RANGES))
    step_s = chosen.steps_s[0] if step_s is None else step_s
    if step_s not in chosen.steps_s:
        known = ", ".join(str(step) for step in sorted(chosen.steps_s))
        fields = {"step": _("This range cannot be cut into steps of %(step)s s.") % {"step": step_s}}
        raise Invalid(_("The figures cannot be shown."), fields=fields, hint=_("Choose from: %s.") % known)
    until = (int(time.time()) - _WRITTEN_AFTER_S) // SLICE_S * SLICE_S
    if name == "live":
        # Whole steps only: a half one, drawn every few seconds anew, looks like a fall.
        until = until // step_s * step_s
    # The range begins within the first step: of what was asked in it nothing is left out.
    start = (until - chosen.length_s) // step_s * step_s
    steps: dict[int, dict[int, Tally]] = {}
    for revision, at, tally in _parts(endpoint, name, step_s, start):
        if start <= at < until:
            steps.setdefault(revision, {}).setdefault(at // step_s * step_s, Tally()).add(tally)
    return Traffic(chosen, step_s, start, until, steps)


@dataclass(frozen=True)
class LastHour:
    """What the endpoints of a workspace were asked since `start`: `requests` all of them together, `minutes` those that
    were asked for, by primary key and then by the beginning of the minute, epoch seconds. A quiet minute is left out.
    """

    start: int
    until: int
    requests: int
    minutes: Mapping[int, Mapping[int, Tally]]

    def total(self, pk: int) -> Tally:
        return summed(self.minutes.get(pk, {}).values())

    def per_minute(self, pk: int) -> list[int]:
        """Requests to an endpoint, oldest first. The minute that goes on is there once it is not less than the last."""
        minutes = self.minutes.get(pk, {})
        counts = [minutes[at].requests if at in minutes else 0 for at in range(self.start, self.until, MINUTE_S)]
        # Half a minute looks like a fall.
        return counts[:-1] if len(counts) > 1 and counts[-1] < counts[-2] else counts


def last_hour(workspace: Workspace, endpoints: Collection[Endpoint]) -> LastHour:
    """The whole minutes of the last hour and the one that goes on; `endpoints` are those whose minutes are wanted.

    Reads each file once and asks the database as often for one endpoint as for many. It does not need the front, nor
    that it has run for long.
    """
    until = int(time.time())
    start = until // MINUTE_S * MINUTE_S - 3600
    begin = datetime.fromtimestamp(start, UTC)
    minutes: dict[int, dict[int, Tally]] = {endpoint.pk: {} for endpoint in endpoints}
    unread = list(_unread_slices((workspace.public_id,), start))
    rows = TrafficStat.objects.filter(endpoint__workspace=workspace, span_s=MINUTE_S, at__gte=begin)
    requests = rows.aggregate(Sum("requests"))["requests__sum"] or 0
    for pk, at, packed in rows.filter(endpoint__in=minutes).values_list("endpoint", "at", "tally"):
        minutes[pk].setdefault(int(at.timestamp()), Tally()).add(Tally.unpacked(packed))
    known = Endpoint.objects.filter(workspace=workspace).values_list("name", "pk", "created_at") if unread else ()
    made = {name: (pk, created_at) for name, pk, created_at in known}
    for part in unread:
        pk, created_at = made.get(part.endpoint, (0, None))
        # What an endpoint of this name that is gone was asked is nobody's any more.
        if created_at is None or part.at + SLICE_S < created_at.timestamp():
            continue
        requests += part.tally.requests
        if pk in minutes:
            minutes[pk].setdefault(part.at // MINUTE_S * MINUTE_S, Tally()).add(part.tally)
    return LastHour(start, until, requests, minutes)


def figures_between(endpoint: Endpoint, start: datetime, end: datetime) -> dict[int, Tally]:
    """By revision, over whole minutes from `start` to `end`: what the numbers were then."""
    found: dict[int, Tally] = {}
    rows = TrafficStat.objects.filter(endpoint=endpoint, span_s=MINUTE_S, at__gte=start, at__lt=end)
    for row in rows:
        found.setdefault(row.revision, Tally()).add(Tally.unpacked(row.tally))
    return found


def was_ever_asked(endpoint: Endpoint) -> bool:
    """Whether any request is known, however old."""
    if TrafficStat.objects.filter(endpoint=endpoint, span_s=HOUR_S).exists():
        return True
    return next(_unread(endpoint, 0), None) is not None


def _parts(endpoint: Endpoint, name: str, step_s: int, start: int) -> Iterator[tuple[int, int, Tally]]:
    """Revision, beginning and counts of all that there is from `start` on."""
    if name == "live":
        since = max(start, int(endpoint.created_at.timestamp()) - SLICE_S)
        for part in journal.since(serving_backend().journal, since, about=_key(endpoint)):
            yield part.revision, part.at, part.tally
        return
    # Before the rows: what is imported between the two is then seen twice for a moment, rather than not at all.
    unread = list(_unread(endpoint, start))
    span_s = HOUR_S if step_s % HOUR_S == 0 else MINUTE_S
    begin = datetime.fromtimestamp(start, UTC)
    rows = TrafficStat.objects.filter(endpoint=endpoint, span_s=span_s, at__gte=begin)
    for revision, at, packed in rows.values_list("revision", "at", "tally"):
        yield revision, int(at.timestamp()), Tally.unpacked(packed)
    yield from unread


def _unread(endpoint: Endpoint, start: int) -> Iterator[tuple[int, int, Tally]]:
    """What the files hold of an endpoint that no row tells of yet."""
    for part in _unread_slices(_key(endpoint), start):
        if part.at + SLICE_S >= endpoint.created_at.timestamp():
            yield part.revision, part.at, part.tally


def _unread_slices(about: tuple[str, ...], start: int) -> Iterator[Slice]:
    """What the files hold from `start` on that no row tells of yet; `about` is of `journal.read`."""
    offsets = dict(JournalFile.objects.values_list("name", "offset"))
    for path in journal.files(serving_backend().journal):
        try:
            stat, offset = path.stat(), offsets.get(path.name, 0)
            if stat.st_mtime < start or stat.st_size <= offset:
                continue
            # Where nobody imports, the files hold more than what is asked for.
            offset = max(offset, journal.offset_of(path, start))
            slices, _end = journal.read(path, offset, limit_bytes=journal.MAX_FILE_BYTES, about=about)
        except FileNotFoundError:
            continue
        yield from (part for part in slices if part.at >= start)


def _key(endpoint: Endpoint) -> tuple[str, str]:
    return endpoint.workspace.public_id, endpoint.name
