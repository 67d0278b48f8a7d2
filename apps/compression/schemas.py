"""What the API of compression answers."""

from __future__ import annotations

from typing import Any

from ninja import Schema


class MethodOut(Schema):
    """A compression method; with a model in the query, `applies` and `reason` are its verdict on that version."""

    name: str
    title: str
    summary: str
    family: str
    needs: list[str]
    applies: bool | None
    reason: str
    params_schema: dict[str, Any]


class MethodPage(Schema):
    items: list[MethodOut]
    next: str | None = None


class VariantOut(Schema):
    """A version of the family. `score` and `baseline` were measured in one job; `worse` names drawbacks."""

    model: str
    parent: str | None
    recipe: list[str]
    score: dict[str, Any]
    baseline: dict[str, Any] | None
    worse: list[str]


class VariantPage(Schema):
    items: list[VariantOut]
    next: str | None = None
