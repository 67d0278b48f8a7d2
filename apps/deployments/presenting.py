"""The timeline in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext as _

from apps.core.wording import told
from apps.deployments.models import TimelineEntry
from apps.deployments.services import SETTINGS

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
    golden = details.get("golden")
    if entry.kind == "live" and golden:
        said = _("%(agree)s of %(total)s golden answers agree, largest drift %(drift).4f")
        return said % {"agree": golden["agree"], "total": golden["total"], "drift": golden["max_drift"]}
    return str(told(details.get("reason", "")))
