"""The timeline in words, and moments as people give them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.core.errors import Invalid
from apps.core.wording import told
from apps.deployments.models import CanaryStatus, Endpoint, TimelineEntry
from apps.deployments.selectors import version_of_entry
from apps.deployments.services import SETTINGS
from modelkit.serving.plan import Sampling

#: What the request log can take out of texts, by its name in `modelkit.serving.plan`.
PATTERNS = {
    "email": gettext_lazy("e-mail addresses"),
    "phone": gettext_lazy("phone numbers"),
    "card": gettext_lazy("card numbers"),
}
_TONES = {"live": "good", "failed": "failed", "stop": "warning", "rollback": "warning"}
_OUTCOME_TONES = {"promoted": "good", "rolled_back": "failed", "aborted": "warning"}


def moment_of(at: datetime) -> datetime:
    """The moment that is meant; without an offset it is in the time zone now active. Raises Invalid."""
    try:
        aware = at if timezone.is_aware(at) else timezone.make_aware(at)
        aware.astimezone(UTC)
    except (OverflowError, ValueError):
        message = _("There is no such moment.")
        raise Invalid(message, fields={"at": message}, hint=_("An example is 2026-11-17T14:05.")) from None
    return aware


def timeline_rows(entries: Iterable[TimelineEntry], endpoint: Endpoint) -> list[dict[str, Any]]:
    """What the page shows of each entry: sentence, tone, and who."""
    return [
        {
            "at": entry.at,
            "actor": entry.actor.username if entry.actor else "",
            "tone": _OUTCOME_TONES.get(entry.details.get("outcome", ""), "") or _TONES.get(entry.kind, ""),
            "numbers": entry.details.get("numbers"),
            "version": version_of_entry(entry, endpoint),
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
        "name": _("Revision %(number)s (%(ref)s) named"),
        "moved": _("Traffic has moved"),
        "canary": _("Canary started with revision %(number)s (%(ref)s)"),
        "canary_step": _step(entry),
        "canary_end": _outcome(entry),
        "shadow": _("Revision %(number)s (%(ref)s) gets copies of the traffic"),
        "shadow_end": _("Revision %(number)s (%(ref)s) gets no more copies"),
    }
    return sentences.get(entry.kind, entry.kind) % names


def _step(entry: TimelineEntry) -> str:
    said = {
        "pause": _("Canary revision %(number)s (%(ref)s) held at its share"),
        "resume": _("Canary revision %(number)s (%(ref)s) rises again"),
    }
    return said.get(entry.details.get("what", ""), _("Canary revision %(number)s (%(ref)s) passed a step"))


def _outcome(entry: TimelineEntry) -> str:
    said = {
        CanaryStatus.PROMOTED.value: _("Canary revision %(number)s (%(ref)s) promoted"),
        CanaryStatus.ABORTED.value: _("Canary revision %(number)s (%(ref)s) aborted"),
    }
    return said.get(entry.details.get("outcome", ""), _("Canary revision %(number)s (%(ref)s) taken back"))


def _shares(weights: dict[str, int]) -> str:
    return ", ".join(
        _("revision %(number)s: %(share)s %%") % {"number": number, "share": share}
        for number, share in sorted(weights.items(), key=lambda item: int(item[0]))
        if share
    )


def _detail(entry: TimelineEntry) -> str:
    details = entry.details
    if entry.kind == "moved":
        return _shares(details.get("weights", {})) or _("nobody answers")
    if entry.kind == "name":
        return str(details.get("name", ""))
    if entry.kind == "canary":
        return " → ".join(f"{share} %" for share in details.get("steps", []))
    if entry.kind == "canary_step" and details.get("share"):
        return _("to %(share)s %%") % {"share": details["share"]}
    if entry.kind == "shadow":
        return _("%(percent)s %% of the requests") % {"percent": details.get("percent")}
    if entry.kind == "traffic":
        shares = _shares(details.get("weights", {}))
        why = _(" (what answered before, since the new revision failed)") if details.get("why") == "fallback" else ""
        return shares + why
    if entry.kind in SETTINGS:
        known = SETTINGS[entry.kind].model_json_schema()["properties"]
        shown = {name: value for name, value in details.get(entry.kind, {}).items() if name in known}
        return ", ".join(f"{_(known[name]['title'])}: {_value(value)}" for name, value in shown.items())
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
    return ", ".join(said) % (names | {"hidden": ", ".join((*_titles(sampling.patterns), *sampling.hide_fields))})


def pattern_titles(names: Iterable[str]) -> str:
    """What is taken out of texts, in the reader's language."""
    return ", ".join(_titles(names))


def _titles(names: Iterable[str]) -> list[str]:
    return [str(PATTERNS[name]) for name in names]


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


def _value(value: bool | int) -> str:
    """A setting's value as the page says it."""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return f"{value:,}"
