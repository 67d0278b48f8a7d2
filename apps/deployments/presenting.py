"""The timeline in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from apps.core.wording import told
from apps.deployments.models import TimelineEntry
from apps.deployments.services import SETTINGS
from modelkit.serving.plan import Sampling

_TONES = {"live": "good", "failed": "failed", "stop": "warning", "rollback": "warning"}


def timeline_rows(entries: Iterable[TimelineEntry]) -> list[dict[str, Any]]:
    """What the page shows of each entry: sentence, tone, and who."""
    return [
        {
            "at": entry.at,
            "actor": entry.actor.username if entry.actor else "",
            "tone": _TONES.get(entry.kind, ""),
            "sentence": _sentence(entry),
            "note": _detail(entry),
        }
        for entry in entries
    ]


def _sentence(entry: TimelineEntry) -> str:
    names = {"ref": entry.model_ref, "number": entry.revision}
    sentences = {
        "create": _("Created, with %(ref)s as revision %(number)s"),
        "deploy": _("%(ref)s deployed as revision %(number)s"),
        "live": _("Revision %(number)s (%(ref)s) is live"),
        "failed": _("Revision %(number)s (%(ref)s) failed"),
        "rollback": _("Rolled back to revision %(number)s (%(ref)s)"),
        "stop": _("Stopped"),
        "start": _("Started"),
        "traffic": _("Traffic shared anew"),
        "limits": _("Limits changed"),
        "placement": _("Placement changed"),
        "sampling": _("Request log changed"),
    }
    return sentences.get(entry.kind, entry.kind) % names


def _detail(entry: TimelineEntry) -> str:
    details = entry.details
    if entry.kind == "traffic":
        shares = ", ".join(
            _("revision %(number)s: %(share)s %%") % {"number": number, "share": share}
            for number, share in sorted(details.get("weights", {}).items(), key=lambda item: int(item[0]))
            if share
        )
        why = _(" (what answered before, since the new revision failed)") if details.get("why") == "fallback" else ""
        return shares + why
    if entry.kind in SETTINGS:
        known = SETTINGS[entry.kind].model_json_schema()["properties"]
        shown = {name: value for name, value in details.get(entry.kind, {}).items() if name in known}
        return ", ".join(f"{_(known[name]['title'])}: {value:,}" for name, value in shown.items())
    if entry.kind == "sampling":
        return _sampling(Sampling.model_validate(details.get("sampling", {})))
    golden = details.get("golden")
    if entry.kind == "live" and golden:
        said = _("%(agree)s of %(total)s golden answers agree, largest drift %(drift).4f")
        return said % {"agree": golden["agree"], "total": golden["total"], "drift": golden["max_drift"]}
    return str(told(details.get("reason", "")))


def _sampling(sampling: Sampling) -> str:
    if not sampling.rate:
        return _("no request is kept")
    said = [_("%(share)s %% of the requests kept for %(days)s days")]
    if sampling.hide_inputs:
        said.append(_("without inputs"))
    elif sampling.patterns or sampling.hide_fields:
        said.append(_("without %(hidden)s"))
    names = {"share": f"{sampling.rate * 100:g}", "days": sampling.keep_days}
    return ", ".join(said) % (names | {"hidden": ", ".join((*sampling.patterns, *sampling.hide_fields))})


class Stage(NamedTuple):
    """A part of a request's time, placed in a bar of 100 units."""

    name: str
    title: str
    ms: float
    x: float
    width: float


def latency_split(total_ms: float, *, queue: float, preprocess: float, model: float) -> list[Stage]:
    """Where the time went, in the order in which it passed; what no stage accounts for comes last."""
    rest = max(0.0, total_ms - queue - preprocess - model)
    times = (
        ("queue", _("queue"), queue),
        ("preprocess", _("tokenize"), preprocess),
        ("model", _("infer"), model),
        ("rest", _("rest"), rest),
    )
    whole = sum(spent for _name, _title, spent in times) or 1.0
    stages, x = [], 0.0
    for name, title, spent in times:
        width = 100 * spent / whole
        stages.append(Stage(name, title, spent, round(x, 3), round(width, 3)))
        x += width
    return stages
