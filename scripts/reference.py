"""Writes `docs/reference/tasks.md` from the specifications of tasks and methods. `--check` only compares.

Run it through `make docs`; a test runs the check, so the reference cannot lag behind the code.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.extend([str(ROOT), str(ROOT / "platform")])

from modelkit import catalog  # noqa: E402
from modelkit.contracts import CompressionSpec, Params, TaskSpec  # noqa: E402

TARGET = ROOT / "docs" / "reference" / "tasks.md"


def _bounds(field: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    variants = field.get("anyOf", [])
    if variants:
        return " or ".join(filter(None, (_bounds(variant) for variant in variants)))
    if field.get("type") == "null":
        return "none"
    if field.get("type") == "boolean":
        return "`true`, `false`"
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    kind = {"integer": "whole number", "number": "number", "string": "text"}.get(field.get("type", ""), "")
    if low is not None and high is not None:
        return f"{kind}, {'more than ' if 'exclusiveMinimum' in field else ''}{low:g} to {high:g}"
    return kind


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "none" if default is None else f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _parameters(params: type[Params]) -> list[str]:
    schema = params.model_json_schema()
    definitions = schema.get("$defs", {})
    lines = ["| parameter | what it does | values | default | unit |", "| --- | --- | --- | --- | --- |"]
    for name, field in schema["properties"].items():
        if "const" in field:
            continue
        resolved = {**definitions.get(field.get("$ref", "").rpartition("/")[2], {}), **field}
        text = str(field.get("description", "")).replace("|", "\\|")
        lines.append(f"| `{name}` | {text} | {_bounds(resolved)} | {_default(field)} | {field.get('unit', '')} |")
    return lines


def _task(spec: TaskSpec) -> list[str]:
    return [
        f"## {spec.title} (`{spec.name}`)",
        "",
        str(spec.summary),
        "",
        "**Columns**",
        "",
        "| role | kind | required | maps by itself from |",
        "| --- | --- | --- | --- |",
        *(
            f"| `{column.role}` | {column.kind} | {'yes' if column.required else 'no'} | {', '.join(column.synonyms)} |"
            for column in spec.columns
        ),
        "",
        "**Presets**",
        "",
        "| id | what it does |",
        "| --- | --- |",
        *(f"| `{preset.id}` | {preset.summary} |" for preset in spec.presets),
        "",
        "**Base models that come along**",
        "",
        "| id | parameters | licence | languages |",
        "| --- | --- | --- | --- |",
        *(
            f"| `{model.id}` | {model.parameters / 1e6:.1f} M | {model.licence} | {', '.join(model.languages)} |"
            for model in spec.base_models
        ),
        "",
        "**Metrics**",
        "",
        "| name | what it is |",
        "| --- | --- |",
        *(f"| `{metric.name}` | {metric.help} |" for metric in spec.metrics),
        "",
        "**Parameters**",
        "",
        *_parameters(spec.params),
        "",
    ]


def _method(spec: CompressionSpec) -> list[str]:
    needs = ", ".join(sorted(spec.needs)).replace("_", " ") or "nothing"
    parameters = _parameters(spec.params)
    table = ["**Parameters**", "", *parameters, ""] if len(parameters) > 2 else []
    return [f"## {spec.title} (`{spec.name}`)", "", str(spec.summary), "", f"Needs: {needs}.", "", *table]


def render() -> str:
    """The whole page."""
    lines = [
        "# Tasks and compression methods",
        "",
        "Generated from the specifications in the code; `make docs` writes it anew.",
        "",
        "# Tasks",
        "",
    ]
    for task in catalog.tasks().values():
        lines += _task(task)
    lines += ["# Compression methods", ""]
    for method in catalog.methods().values():
        lines += _method(method)
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    text = render()
    if "--check" in sys.argv:
        return 0 if TARGET.read_text() == text else 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
