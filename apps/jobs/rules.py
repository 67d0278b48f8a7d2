"""What the JSON schema of `Params` says of one parameter, in words; shared by forms and by the refusal of a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.translation import gettext as _

from modelkit.contracts import Params


def param_remedy(model: type[Params], name: str) -> str:
    """What a parameter takes: “Learning rate: above 0, at most 1.” Empty where the schema knows no such one."""
    schema = model.model_json_schema()
    raw = schema["properties"].get(name)
    if raw is None:
        return ""
    rule = resolve(raw, schema.get("$defs", {}))
    kinds = {"integer": _("a whole number"), "number": _("a number"), "boolean": _("true or false")}
    kind = kinds.get(str(rule.get("type")), "")
    offered = _("one of %(values)s") % {"values": ", ".join(map(to_text, rule["enum"]))} if "enum" in rule else kind
    said = ", ".join(part for part in (offered, bounds_of(rule)) if part)
    return f"{_(raw.get('title') or name)}: {said}." if said else ""


def resolve(rule: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The rule with references followed, and of an optional value the part that is not null."""
    merged = dict(rule)
    for option in _alternatives(rule, definitions):
        if option.get("type") != "null":
            merged = {**option, **merged}
            break
    return merged


def bounds_of(rule: Mapping[str, Any]) -> str:
    """What values it takes, in words; empty without bounds."""
    low, high = rule.get("minimum"), rule.get("maximum")
    above, below = rule.get("exclusiveMinimum"), rule.get("exclusiveMaximum")
    if low is not None and high is not None:
        return _("%(low)s to %(high)s") % {"low": to_text(low), "high": to_text(high)}
    if above is not None and high is not None:
        return _("above %(low)s, at most %(high)s") % {"low": to_text(above), "high": to_text(high)}
    parts = []
    if low is not None:
        parts.append(_("at least %(low)s") % {"low": to_text(low)})
    if above is not None:
        parts.append(_("above %(low)s") % {"low": to_text(above)})
    if high is not None:
        parts.append(_("at most %(high)s") % {"high": to_text(high)})
    if below is not None:
        parts.append(_("below %(high)s") % {"high": to_text(below)})
    return ", ".join(parts)


def to_text(value: Any) -> str:
    """A parameter's value as the form writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def _alternatives(rule: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    if "$ref" in rule:
        yield definitions[rule["$ref"].rpartition("/")[2]]
    for option in rule.get("anyOf", rule.get("allOf", ())):
        yield definitions[option["$ref"].rpartition("/")[2]] if "$ref" in option else option
