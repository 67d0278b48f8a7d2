"""The charts of the Monitor tab as data: titles, units and points. How they are drawn is `static/js/charts.js`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.utils import timezone
from django.utils.translation import gettext as _

from apps.monitoring.traffic import Traffic
from modelkit.serving.tally import STAGES, Tally

#: Lines of one chart that can be told apart; of more revisions those with the most requests are drawn.
MAX_LINES = 4

#: From a step's counts and its length in seconds to what is drawn; None draws nothing.
_Value = Callable[[Tally, int], float | None]


class Line(NamedTuple):
    """`role` decides the colour; `idle` is drawn for a step without a request."""

    name: str
    role: str
    tallies: dict[int, Tally]
    value: _Value
    idle: float | None = None


def traffic_figures(traffic: Traffic) -> dict[str, dict[str, Any]]:
    """One figure a subject, by name; those by revision only where there is more than one. Empty without requests."""
    whole = traffic.by_moment()
    if not whole:
        return {}
    figures = {
        "requests": _requests(traffic, whole),
        "failures": _failures(traffic, whole),
        "latency": _latency(traffic, whole),
        "stages": _stages(traffic, whole),
        "batch": _batch(traffic, whole),
        "tokens": _tokens(traffic, whole),
    }
    chosen = [number for number in traffic.revisions if number]
    if len(chosen) > 1:
        figures |= _by_revision(traffic, chosen)
    return figures


def revision_title(number: int) -> str:
    return _("revision %(number)s") % {"number": number} if number else _("before a revision was chosen")


def zone_text() -> str:
    """The installation's time zone, in which every time of the page is told."""
    return timezone.get_current_timezone_name()


def _requests(traffic: Traffic, whole: dict[int, Tally]) -> dict[str, Any]:
    lines = [
        Line(_("answered"), "good", whole, lambda t, s: t.answered / s, 0),
        Line(_("refused (4xx)"), "warning", whole, lambda t, s: t.rejected / s, 0),
        Line(_("failed (5xx)"), "bad", whole, lambda t, s: t.errors / s, 0),
    ]
    return _figure(traffic, _("Requests"), _("per second"), lines, stacked=True)


def _failures(traffic: Traffic, whole: dict[int, Tally]) -> dict[str, Any]:
    lines = [
        Line(_("failed (5xx)"), "bad", whole, lambda t, _s: 100 * t.errors / t.requests),
        Line(_("refused (4xx)"), "warning", whole, lambda t, _s: 100 * t.rejected / t.requests),
    ]
    return _figure(traffic, _("Share of errors"), "%", lines, percent=True)


def _latency(traffic: Traffic, whole: dict[int, Tally]) -> dict[str, Any]:
    lines = [
        Line("p99", "bad", whole, lambda t, _s: t.quantile_ms(0.99)),
        Line("p95", "warning", whole, lambda t, _s: t.quantile_ms(0.95)),
        Line("p50", "accent", whole, lambda t, _s: t.quantile_ms(0.5)),
    ]
    return _figure(traffic, _("Latency"), _("ms, from request read to answer written"), lines)


def _stages(traffic: Traffic, whole: dict[int, Tally]) -> dict[str, Any]:
    titles = {"queue": _("queue"), "preprocess": _("preprocess"), "model": _("model")}
    roles = {"queue": "warning", "preprocess": "reference", "model": "accent"}
    lines = [Line(titles[stage], roles[stage], whole, _mean(f"{stage}_ms")) for stage in STAGES]
    lines.append(Line(_("front"), "train", whole, _rest))
    return _figure(traffic, _("Where the time goes"), _("ms, mean per answer"), lines, stacked=True)


def _mean(name: str) -> _Value:
    return lambda tally, _s: tally.mean(name)


def _rest(tally: Tally, _seconds: int) -> float | None:
    """What is left of the latency: parsing, the way to the runner and back, writing."""
    if not tally.answered:
        return None
    stages = tally.queue_ms + tally.preprocess_ms + tally.model_ms
    return max(0.0, tally.latency_ms - stages) / tally.answered


def _batch(traffic: Traffic, whole: dict[int, Tally]) -> dict[str, Any]:
    lines = [
        Line(_("in the model's batch"), "accent", whole, _mean("batch_inputs")),
        Line(_("in the request"), "train", whole, _mean("inputs")),
    ]
    return _figure(traffic, _("Batch size"), _("inputs, mean per answer"), lines)


def _tokens(traffic: Traffic, whole: dict[int, Tally]) -> dict[str, Any]:
    lines = [
        Line(_("tokens"), "accent", whole, lambda t, s: t.tokens / s, 0),
        Line(_("inputs"), "train", whole, lambda t, s: t.inputs / s, 0),
    ]
    return _figure(traffic, _("Tokens and inputs"), _("per second"), lines)


def _by_revision(traffic: Traffic, numbers: list[int]) -> dict[str, dict[str, Any]]:
    busiest = sorted(numbers, key=lambda number: -traffic.total(number).requests)[:MAX_LINES]
    steps = {number: traffic.by_moment(number) for number in sorted(busiest, reverse=True)}
    roles = ("accent", "reference", "train", "warning")

    def lines(value: _Value, idle: float | None = None) -> list[Line]:
        pairs = zip(steps.items(), roles, strict=False)
        return [Line(revision_title(number), role, tallies, value, idle) for (number, tallies), role in pairs]

    return {
        "revision_requests": _figure(
            traffic, _("Requests by revision"), _("per second"), lines(lambda t, s: t.requests / s, 0)
        ),
        "revision_p95": _figure(
            traffic, _("p95 by revision"), _("ms"), lines(lambda t, _s: t.quantile_ms(0.95))
        ),
        "revision_errors": _figure(
            traffic, _("Failed by revision"), "%", lines(lambda t, _s: 100 * t.errors / t.requests), percent=True
        ),
    }  # fmt: skip


def _figure(
    traffic: Traffic, title: str, unit: str, lines: Iterable[Line], *, stacked: bool = False, percent: bool = False
) -> dict[str, Any]:
    return {
        "kind": "times",
        "title": title,
        "unit": unit,
        "x": _("time, %(zone)s") % {"zone": zone_text()},
        "stacked": stacked,
        "percent": percent,
        "min": _clock_ms(traffic.start),
        "max": _clock_ms(traffic.moments[-1] if traffic.moments else traffic.start),
        "series": [{"name": line.name, "role": line.role, "points": _points(traffic, line)} for line in lines],
    }


def _points(traffic: Traffic, line: Line) -> list[list[float | None]]:
    points: list[list[float | None]] = []
    for moment in traffic.moments:
        tally = line.tallies.get(moment)
        value = line.idle if tally is None else line.value(tally, traffic.length_s(moment))
        points.append([_clock_ms(moment), None if value is None else round(value, 4)])
    return points


def _clock_ms(moment: int) -> int:
    """What the clock on the wall of the installation's time zone shows, as if that were UTC: so the chart draws it."""
    offset = timezone.localtime(datetime.fromtimestamp(moment, UTC)).utcoffset()
    return (moment + int(offset.total_seconds() if offset else 0)) * 1000
