"""What the API of canaries and shadows takes and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from ninja import Schema
from pydantic import ConfigDict, Field, StrictInt

from apps.core.wording import told
from apps.deployments import selectors
from apps.deployments.canaries import MAX_STEP_S, MAX_STEPS, STEP_S, STEPS, missing_requests, numbers_of, step_ends_at
from apps.deployments.judging import Bounds, Check, Numbers
from apps.deployments.models import Canary, Endpoint, ShadowDifference, ShadowSummary
from apps.deployments.schemas import Number, RevisionOut

_MODEL = Field("", description="A version: intents@2, or intents@champion.", max_length=140)
_REVISION = Field(None, description="A revision of the endpoint, in place of a model.")
_NAME = Field("", max_length=60, description="What people call the new revision, such as candidate.")


class CanaryIn(Schema):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str = _MODEL
    revision: Number | None = _REVISION
    name: str = _NAME
    steps: list[Annotated[StrictInt, Field(ge=1, le=100)]] = Field(
        list(STEPS), description="Rising shares in percent; the last one is 100.", max_length=MAX_STEPS
    )
    step_s: int = Field(STEP_S, ge=1, le=MAX_STEP_S, description="Each step lasts at least so many seconds.")
    bounds: Bounds = Field(Bounds(), description="How much worse it may do, beyond the noise of small numbers.")


class RevisionNumbers(Schema):
    revision: int
    requests: int
    failures: int
    error_rate: float
    p50_ms: float | None
    p95_ms: float | None
    labels: dict[str, int]

    @classmethod
    def of(cls, revision: int, numbers: Numbers) -> RevisionNumbers:
        return cls(
            revision=revision,
            requests=numbers.requests,
            failures=numbers.failures,
            error_rate=numbers.error_rate,
            p50_ms=numbers.p50_ms,
            p95_ms=numbers.p95_ms,
            labels=numbers.labels,
        )


class CanaryOut(Schema):
    model_config = ConfigDict(protected_namespaces=())

    status: str = Field(description="ramping, paused, promoted, aborted or rolled_back.")
    reason: str = Field(description="Why it ended: the bound that broke, by its numbers, or that none did.")
    model: str
    revision: int
    stable: int
    steps: list[int]
    share: int = Field(description="The share of the present step; of an ended one, of its last.")
    step_s: int
    step_began_at: datetime | None = Field(description="Null until the traffic of the step has come.")
    step_ends_at: datetime | None
    missing_requests: int = Field(description="Requests that the slower of the two lacks before the next step.")
    bounds: Bounds
    numbers: list[RevisionNumbers] = Field(description="Of this step: the stable revision, then the canary.")
    checks: list[Check] = Field(description="The bounds as last judged.")
    passed: list[dict[str, Any]] = Field(description="The steps before, with their checks.")
    created_at: datetime
    created_by: str | None
    finished_at: datetime | None
    finished_by: str | None = Field(description="Null for the platform itself.")

    @classmethod
    def of(cls, canary: Canary) -> CanaryOut:
        stable, own = numbers_of(canary)
        return cls(
            status=canary.status,
            reason=told(canary.reason),
            model=canary.revision.model_version.ref,
            revision=canary.revision.number,
            stable=canary.stable.number,
            steps=canary.steps,
            share=canary.share,
            step_s=canary.step_s,
            step_began_at=canary.step_began_at,
            step_ends_at=step_ends_at(canary),
            missing_requests=missing_requests(canary),
            bounds=Bounds.model_validate(canary.bounds),
            numbers=[
                RevisionNumbers.of(canary.stable.number, stable),
                RevisionNumbers.of(canary.revision.number, own),
            ],
            checks=[Check.model_validate(check) for check in canary.verdict],
            passed=canary.passed,
            created_at=canary.created_at,
            created_by=canary.created_by.username if canary.created_by else None,
            finished_at=canary.finished_at,
            finished_by=canary.finished_by.username if canary.finished_by else None,
        )


class ShadowIn(Schema):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str = _MODEL
    revision: Number | None = _REVISION
    name: str = _NAME
    percent: Annotated[StrictInt, Field(ge=1, le=100)] = Field(100, description="Share of the requests to copy.")
    keep_inputs: bool = Field(True, description="Keep the texts of differences, not only their labels.")


class ClassOut(Schema):
    label: str = Field(description="What the champion said.")
    compared: int
    agreed: int
    instead: dict[str, int] = Field(description="What the challenger said most often in its place.")


class ComparisonOut(Schema):
    champion: int
    challenger: int
    sent: int = Field(description="Requests copied.")
    dropped: int = Field(description="Requests not copied, since the shadow was too slow.")
    failed: int = Field(description="Copies that the shadow did not answer.")
    compared: int = Field(description="Inputs answered by both.")
    agreed: int
    agreement: float | None
    first_at: datetime
    last_at: datetime
    classes: list[ClassOut] = Field(description="Most differences first; at most 50.")

    @classmethod
    def of(cls, summary: ShadowSummary) -> ComparisonOut:
        classes = selectors.shadow_classes(summary)[:50]
        return cls(
            champion=summary.champion,
            challenger=summary.challenger,
            sent=summary.sent,
            dropped=summary.dropped,
            failed=summary.failed,
            compared=summary.compared,
            agreed=summary.agreed,
            agreement=summary.agreement,
            first_at=summary.first_at,
            last_at=summary.last_at,
            classes=[
                ClassOut(label=c.label, compared=c.compared, agreed=c.agreed, instead=dict(c.instead)) for c in classes
            ],
        )


class ShadowOut(Schema):
    revision: RevisionOut | None = Field(description="Null while nothing is copied.")
    keep_inputs: bool
    comparisons: list[ComparisonOut]

    @classmethod
    def of(cls, endpoint: Endpoint) -> ShadowOut:
        shadow = selectors.shadow_of(endpoint)
        return cls(
            revision=RevisionOut.of(shadow) if shadow is not None else None,
            keep_inputs=endpoint.shadow_inputs,
            comparisons=[ComparisonOut.of(summary) for summary in selectors.shadow_summaries(endpoint)[:20]],
        )


class AnswerOut(Schema):
    revision: int
    label: str
    score: float


class DifferenceOut(Schema):
    at: datetime
    request_id: str
    input: str = Field(description="Empty where texts are not kept; at most 1,000 characters.")
    champion: AnswerOut
    challenger: AnswerOut

    @classmethod
    def of(cls, row: ShadowDifference) -> DifferenceOut:
        return cls(
            at=row.at,
            request_id=row.request_id,
            input=row.input,
            champion=AnswerOut(revision=row.summary.champion, label=row.champion_label, score=row.champion_score),
            challenger=AnswerOut(
                revision=row.summary.challenger, label=row.challenger_label, score=row.challenger_score
            ),
        )
