"""Forms for parameters: fields made from a `Params` schema, and posted text turned back into values.

Knows no task and no method: whatever `model_json_schema()` says is what the form shows.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from django.http import QueryDict
from django.utils.translation import gettext as _
from pydantic import ValidationError

from apps.jobs.rules import bounds_of, resolve, to_text
from modelkit.contracts import Params

#: Names of parameter inputs begin so, as the paths in error messages do.
PREFIX = "params."

Kind = Literal["integer", "number", "switch", "select", "text"]


@dataclass(frozen=True)
class Choice:
    value: str
    title: str
    selected: bool


@dataclass(frozen=True)
class ParamField:
    """One input. `base` is what the preset (else the default) says, `value` what the form shows."""

    name: str
    title: str
    help: str
    unit: str
    group: str
    kind: Kind
    value: str
    base: str
    bounds: str = ""
    choices: tuple[Choice, ...] = ()
    error: str = ""

    @property
    def input_name(self) -> str:
        return PREFIX + self.name

    @property
    def changed(self) -> bool:
        return self.value != self.base

    @property
    def checked(self) -> bool:
        return self.value == "true"

    @property
    def base_title(self) -> str:
        """The preset's value in words, for the mark of a changed field."""
        if self.kind == "switch":
            return _("on") if self.base == "true" else _("off")
        return next((choice.title for choice in self.choices if choice.value == self.base), self.base)


@dataclass(frozen=True)
class ParamForm:
    """All inputs of one `Params`, in the order of its fields."""

    fields: tuple[ParamField, ...] = ()

    @property
    def basic(self) -> list[ParamField]:
        return [item for item in self.fields if item.group == "basic"]

    @property
    def advanced(self) -> list[ParamField]:
        return [item for item in self.fields if item.group != "basic"]

    @property
    def changed(self) -> int:
        return sum(item.changed for item in self.fields)

    @property
    def advanced_changed(self) -> int:
        return sum(item.changed for item in self.advanced)

    @property
    def advanced_needs_eyes(self) -> bool:
        """Whether something beyond the basic inputs was refused, so that it must not stay hidden."""
        return any(item.error for item in self.advanced)


def param_form(
    model: type[Params],
    *,
    base: Mapping[str, Any],
    values: Mapping[str, Any],
    errors: Mapping[str, str] | None = None,
) -> ParamForm:
    """Inputs for `model`: `base` are the preset's values, `values` what differs, `errors` by parameter name."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    fields = []
    for name, raw in schema["properties"].items():
        rule = resolve(raw, definitions)
        if "const" in rule:
            continue
        standard = base.get(name, rule.get("default"))
        value = values.get(name, standard)
        fields.append(
            _told(
                name=name,
                title=_(raw.get("title") or name),
                help=_(raw["description"]) if raw.get("description") else "",
                unit=_(raw["unit"]) if raw.get("unit") else "",
                group=raw.get("group", "advanced"),
                kind=_kind(rule),
                value=to_text(value),
                base=to_text(standard),
                bounds=bounds_of(rule),
                choices=_choices(rule, to_text(value)),
                error=(errors or {}).get(name, ""),
            )
        )
    return ParamForm(tuple(fields))


def _told(**values: Any) -> ParamField:
    field = ParamField(**values)
    return replace(field, error=in_our_words(field, field.error)) if field.error else field


def param_values(model: type[Params], data: QueryDict, base: Mapping[str, Any]) -> dict[str, Any]:
    """What the posted form changes against `base`, typed where the text allows; nonsense stays text for the model.

    An emptied input means the preset's value. A parameter that the form did not hold is left alone.
    """
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    changed: dict[str, Any] = {}
    for name, raw in schema["properties"].items():
        rule = resolve(raw, definitions)
        if "const" in rule or PREFIX + name not in data:
            continue
        text = data.getlist(PREFIX + name)[-1].strip()
        standard = base.get(name, rule.get("default"))
        if text == "" or text == to_text(standard):
            continue
        value = _typed(rule, text)
        if value != standard or isinstance(value, bool) != isinstance(standard, bool):
            changed[name] = value
    return changed


def in_our_words(field: ParamField, message: str) -> str:
    """What is wrong with a value and what would be right; pydantic's own messages are English and name no remedy."""
    if not message.startswith("Input should"):
        return message
    if field.kind == "integer":
        return (_("Give a whole number, %(bounds)s.") if field.bounds else _("Give a whole number.")) % {
            "bounds": field.bounds
        }
    if field.kind == "number":
        return (_("Give a number, %(bounds)s.") if field.bounds else _("Give a number.")) % {"bounds": field.bounds}
    return _("Choose one of the values that are offered.")


def field_errors(error: ValidationError, messages: Mapping[str, str]) -> dict[str, str]:
    """A refused request model as one message a field: ours where we have one, else pydantic's."""
    found: dict[str, str] = {}
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"] if part not in {"train", "compress"})
        found.setdefault(name, messages.get(name, item["msg"]))
    return found


@dataclass(frozen=True)
class Equivalent:
    """The request that a form stands for, as JSON and as a command."""

    body: Mapping[str, Any]
    url: str
    lines: tuple[str, ...] = field(default=())

    @property
    def json(self) -> str:
        return json.dumps(self.body, ensure_ascii=False, indent=2)

    @property
    def curl(self) -> str:
        body = shlex.quote(json.dumps(self.body, ensure_ascii=False))
        return "\n".join(
            (
                f"curl -X POST {shlex.quote(self.url)} \\",
                '  -H "Authorization: Bearer $TUNEYARD_TOKEN" \\',
                '  -H "Content-Type: application/json" \\',
                f"  -d {body}",
            )
        )


def _kind(rule: Mapping[str, Any]) -> Kind:
    if "enum" in rule:
        return "select"
    kinds: dict[str, Kind] = {"integer": "integer", "number": "number", "boolean": "switch"}
    return kinds.get(str(rule.get("type")), "text")


def _choices(rule: Mapping[str, Any], value: str) -> tuple[Choice, ...]:
    texts = [to_text(item) for item in rule.get("enum", ())]
    return tuple(Choice(text, (_(text) if text else text).replace("_", " "), text == value) for text in texts)


def _typed(rule: Mapping[str, Any], text: str) -> Any:
    if "enum" in rule:
        return next((item for item in rule["enum"] if to_text(item) == text), text)
    kind = rule.get("type")
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            value = float(text)
            # JSON knows no infinity and no NaN; as text the model refuses them by name.
            return value if value - value == 0 else text
    except ValueError:
        return text
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    return text
