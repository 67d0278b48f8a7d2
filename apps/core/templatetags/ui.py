"""Template tags and filters of the interface: icons, chips and numbers as people read them.

A number that is not there is a dash, also the empty text that a template gives for a missing one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import template
from django.forms import BoundField
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from apps.core.wording import told
from modelkit import catalog

register = template.Library()

#: The meaning of every status of every noun.
_TONES = {
    "queued": "", "pending": "", "stopped": "", "cancelled": "", "uploading": "running",
    "running": "running", "validating": "running", "importing": "running", "starting": "running", "draining": "running",
    "succeeded": "good", "live": "good", "ready": "good", "pass": "good", "ok": "good",
    "needs_mapping": "warning", "degraded": "warning", "warn": "warning", "warning": "warning",
    "failed": "failed", "errored": "failed", "rejected": "failed", "fail": "failed", "down": "failed",
}  # fmt: skip

#: The sidebar in pipeline order: address name, title, icon; None draws a line. What does not resolve is not built.
_NAVIGATION = (
    ("home", gettext_lazy("Home"), "home"),
    None,
    ("dataset_list", gettext_lazy("Datasets"), "database"),
    ("base_model_list", gettext_lazy("Base models"), "box"),
    ("job_list", gettext_lazy("Jobs"), "play"),
    ("model_list", gettext_lazy("Models"), "models"),
    ("compression", gettext_lazy("Compress"), "compress"),
    None,
    ("endpoint_list", gettext_lazy("Endpoints"), "rocket"),
    None,
    ("worker_list", gettext_lazy("Workers"), "server"),
    ("settings", gettext_lazy("Settings"), "settings"),
)


#: Units in which twice as much means the same at any size.
_RELATIVE = {"ms", "bytes", "rows/s"}

_SPLITS = {"train": gettext_lazy("train"), "validation": gettext_lazy("validation"), "test": gettext_lazy("test")}

register.filter("told", told)


@register.filter
def split_title(split: str) -> str:
    """The name of a split inside a sentence."""
    return str(_SPLITS.get(split, split))


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """An icon of the sprite, hidden from screen readers: the words beside it say the same."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true"><use href="{}#{}"></use></svg>', extra, static("img/icons.svg"), name
    )


@register.simple_tag
def chip(status: str, label: str = "") -> SafeString:
    """A status as a dot and a word; `label` is the word where it is not the status itself."""
    tone = _TONES.get(str(status), "")
    text = label or str(status).replace("_", " ").capitalize()
    return format_html('<span class="chip{}">{}</span>', f" chip-{tone}" if tone else "", text)


#: Of a sparkline, in its own units: it is stretched to what its style sheet gives it.
_SPARK_WIDTH, _SPARK_HEIGHT = 100, 24


@register.simple_tag
def sparkline(values: Sequence[float], text: str) -> SafeString:
    """A small line over an area, from zero to the largest value; `text` says what it shows."""
    highest, steps = max(values, default=0) or 1, max(1, len(values) - 1)
    # A line at the very edge would lose half of its width.
    room = _SPARK_HEIGHT - 2
    points = [(_SPARK_WIDTH * i / steps, 1 + room * (1 - value / highest)) for i, value in enumerate(values)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return format_html(
        '<svg class="spark" viewBox="0 0 {0} {1}" preserveAspectRatio="none" role="img" aria-label="{2}">'
        '<title>{2}</title><polygon points="0,{1} {3} {0},{1}"/><polyline points="{3}"/></svg>',
        _SPARK_WIDTH,
        _SPARK_HEIGHT,
        text,
        line,
    )


@register.simple_tag(takes_context=True)
def navigation(context: dict[str, Any]) -> list[dict[str, Any] | None]:
    """The sidebar's entries; only what is built, the present one marked by the longest matching address."""
    request: HttpRequest = context["request"]
    entries: list[dict[str, Any] | None] = []
    for item in _NAVIGATION:
        if item is None:
            if entries and entries[-1] is not None:
                entries.append(None)
            continue
        name, title, icon_name = item
        try:
            address = reverse(name)
        except NoReverseMatch:
            continue
        here = request.path == address or (address != "/" and request.path.startswith(address))
        entries.append({"title": title, "icon": icon_name, "address": address, "current": here})
    if entries and entries[-1] is None:
        entries.pop()
    return entries


@register.filter
def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage: 0.926 -> 92.6 %."""
    return "–" if not isinstance(value, int | float) else f"{float(value) * 100:.{digits}f} %"


@register.filter
def ms(value: float | None) -> str:
    """Milliseconds with one decimal."""
    return "–" if not isinstance(value, int | float) else f"{float(value):.1f} ms"


@register.filter
def size(value: float | None) -> str:
    """Bytes in the unit that fits, in powers of ten."""
    if not isinstance(value, int | float):
        return "–"
    number = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


@register.filter
def count(value: float | None) -> str:
    """A large number as people say it: 22.7 M."""
    if not isinstance(value, int | float):
        return "–"
    number = float(value)
    for unit in ("", "k", "M", "G"):
        if abs(number) < 1000:
            return f"{number:.0f}" if not unit else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} T"


@register.filter
def measure(value: float | None, unit: str) -> str:
    """A metric's value in its unit."""
    if not isinstance(value, int | float):
        return "–"
    match unit:
        case "fraction":
            return percent(value)
        case "bytes":
            return size(value)
        case "ms":
            return ms(value)
        case "nats":
            return f"{value:.3f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.4g}"


def difference(value: float | None, against: float | None, unit: str) -> str:
    """How a metric's value differs from another one, with its sign; the same way on every page.

    Shares differ by percentage points. Times, sizes and speeds differ by a part of what they are compared with: it is
    what a machine of another speed would show too. All else differs by a bare number.
    """
    number = _difference(value, against, unit)
    if not number:
        return "–"
    if unit == "fraction":
        return _("%(value)s pp") % {"value": _signed(number)}
    return f"{_signed(number)} %" if unit in _RELATIVE else _signed(number)


def improved(value: float | None, against: float | None, unit: str, *, higher_is_better: bool = True) -> bool | None:
    """Whether a metric's value is the better of the two; None where `difference` shows none, however small it is."""
    number = float(_difference(value, against, unit) or 0)
    return (number > 0) == higher_is_better if number else None


def _difference(value: float | None, against: float | None, unit: str) -> str:
    """The number of `difference`, rounded as it is shown; empty where there is none."""
    if not isinstance(value, int | float) or not isinstance(against, int | float):
        return ""
    if unit == "fraction":
        return f"{(value - against) * 100:+.1f}"
    if unit not in _RELATIVE:
        return f"{value - against:+.4g}"
    return f"{(value / against - 1) * 100:+.1f}" if against else ""


def _signed(number: str) -> str:
    """With a minus sign as wide as the plus, and no sign where nothing is left of the number."""
    return number.replace("-", "−") if float(number) else number.lstrip("+-")


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds in words: 4 s, 1 min 49 s, 2 h 5 min."""
    if not isinstance(seconds, int | float):
        return "–"
    total = int(float(seconds) + 0.5)
    if total < 60:
        return _("%(s)d s") % {"s": total}
    if total < 3600:
        return _("%(m)d min %(s)d s") % {"m": total // 60, "s": total % 60}
    return _("%(h)d h %(m)d min") % {"h": total // 3600, "m": total % 3600 // 60}


@register.filter
def ago(moment: datetime | None) -> str:
    """How long since `moment`, in one unit."""
    if not isinstance(moment, datetime):
        return "–"
    seconds = (timezone.now() - moment).total_seconds()
    if seconds < 60:
        return _("just now")
    if seconds < 3600:
        minutes = int(seconds // 60)
        return ngettext("%(n)d minute ago", "%(n)d minutes ago", minutes) % {"n": minutes}
    if seconds < 86400:
        hours = int(seconds // 3600)
        return ngettext("%(n)d hour ago", "%(n)d hours ago", hours) % {"n": hours}
    days = int(seconds // 86400)
    return ngettext("%(n)d day ago", "%(n)d days ago", days) % {"n": days}


@register.filter
def initials(text: object) -> str:
    """Up to two letters to recognise a name by."""
    words = str(text or "").replace("-", " ").split()
    return "".join(word[0] for word in words[:2]).upper() or "?"


@register.filter
def task_title(name: str) -> str:
    """What a task is called on pages; its name where it is not installed any more."""
    spec = catalog.tasks().get(name)
    return _(spec.title) if spec else name


@register.filter
def control(field: BoundField) -> SafeString:
    """A form field's widget in our look, marked and described when it has errors."""
    kind = getattr(field.field.widget, "input_type", "")
    name = {"select": "form-select", "checkbox": "form-check-input", "radio": "form-check-input"}.get(
        kind, "form-control"
    )
    attributes: dict[str, str | bool] = {"class": f"{name} is-invalid" if field.errors else name}
    if field.errors:
        attributes["aria-describedby"] = f"{field.auto_id}-error"
    return field.as_widget(attrs=attributes)


@register.filter
def is_box(field: BoundField) -> bool:
    """Whether a field is one box to tick, which stands before its words."""
    return getattr(field.field.widget, "input_type", "") == "checkbox" and not field.use_fieldset


@register.filter
def get(mapping: dict[str, Any] | None, key: str) -> Any:
    """`mapping[key]`, or nothing."""
    return (mapping or {}).get(key)
