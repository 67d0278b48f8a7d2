"""What the API of endpoints takes and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, cast

from ninja import Schema
from pydantic import ConfigDict, Field, StrictInt

from apps.core.wording import told
from apps.deployments import selectors
from apps.deployments.backend import serving_backend
from apps.deployments.keeping import MAX_KEY_DAYS, MAX_LIMITS
from apps.deployments.models import Endpoint, EndpointKey, Revision, TimelineEntry
from apps.deployments.selectors import answered_at, version_of_entry
from modelkit.serving.plan import Goal, Limits, Placement, Runtime, Sampling

_MODEL = Field(description="A version: intents@2, or intents@champion.", max_length=140)
_GOAL: Any = Field(
    "",
    description="What matters most. The serving host measures its runtimes for it and takes the best that keeps the "
    "answers; empty: not measured, which is live soonest.",
)
_RUNTIME: Any = Field(None, description="How to compute it, as it is, in place of measuring.")


class EndpointIn(Schema):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    name: str = Field(description="Lower-case letters, digits and hyphens; unique in the workspace.", max_length=63)
    model: str = _MODEL
    title: str = Field("", max_length=200, description="Free text, in any language.")
    goal: Goal = _GOAL
    runtime: Runtime | None = _RUNTIME


class EndpointPatch(Schema):
    """What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    title: str | None = Field(None, max_length=200)
    limits: Limits | None = Field(None, description="What one request may carry; a limit left out stays as it is.")
    placement: Placement | None = Field(
        None, description="What it may take of the serving host; what is left out stays as it is."
    )
    sampling: Sampling | None = Field(
        None, description="Which requests are kept to be looked at; what is left out stays as it is."
    )


class RevisionIn(Schema):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str = _MODEL
    name: str = Field("", max_length=60, description="What people call the revision, such as candidate.")
    goal: Goal = _GOAL
    runtime: Runtime | None = _RUNTIME


class RevisionPatch(Schema):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=60, description="Empty takes the name away.")


Number = Annotated[int, Field(ge=1, le=2_147_483_647)]
Share = Annotated[StrictInt, Field(ge=0, le=100)]


class TrafficIn(Schema):
    model_config = ConfigDict(extra="forbid")

    revisions: dict[Number, Share] = Field(
        description="Shares in percent by revision; they add up to 100.", max_length=100
    )
    names: dict[Number, Annotated[str, Field(max_length=60)]] = Field(
        {}, description="What people call revisions, such as candidate.", max_length=100
    )
    sticky: str | None = Field(
        None,
        max_length=80,
        description="What keeps a caller on one revision: none, key, or header:X-User-Id. Left out, it stays as it is.",
    )


class RevisionOut(Schema):
    model_config = ConfigDict(protected_namespaces=())

    number: int
    name: str
    model: str
    weight: int = Field(description="Desired share of the traffic in percent.")
    shadow: int = Field(description="Percent of the traffic that is copied to it; its answers reach nobody.")
    status: str
    reason: str
    goal: Goal
    runtime: Runtime | None = Field(description="As it was fixed or chosen; null while it is the default.")
    tuning: dict[str, Any] | None = Field(description="What was measured for the goal: candidates, choice, reason.")

    @classmethod
    def of(cls, revision: Revision) -> RevisionOut:
        return cls(
            number=revision.number,
            name=revision.name,
            model=revision.model_version.ref,
            weight=revision.weight,
            shadow=revision.shadow,
            status=revision.status,
            reason=told(revision.reason),
            goal=cast(Goal, revision.goal),
            runtime=selectors.effective_runtime(revision),
            tuning=told(revision.tuning),
        )


class EndpointOut(Schema):
    name: str
    title: str
    task: str
    status: str
    url: str = Field(description="Where predictions are asked for, with a token of this workspace.")
    revisions: list[RevisionOut]
    sticky: str = Field(description="none, key, or header:NAME.")
    limits: Limits
    placement: Placement
    sampling: Sampling
    created_at: datetime
    created_by: str | None

    @classmethod
    def of(cls, endpoint: Endpoint) -> EndpointOut:
        """From a row of `selectors.endpoints_of`."""
        return cls(
            name=endpoint.name,
            title=endpoint.title,
            task=endpoint.task,
            status=endpoint.status,
            url=serving_backend().endpoint(endpoint.workspace.public_id, endpoint.name),
            revisions=[RevisionOut.of(revision) for revision in endpoint.revisions.all()],
            sticky=endpoint.sticky or "none",
            limits=Limits.model_validate(endpoint.limits),
            placement=Placement.model_validate(endpoint.placement),
            sampling=Sampling.model_validate(endpoint.sampling),
            created_at=endpoint.created_at,
            created_by=endpoint.created_by.username if endpoint.created_by else None,
        )


_Count = Annotated[StrictInt, Field(ge=1, le=1_000_000_000_000)]


class KeyPatch(Schema):
    """What is left out stays as it is; null takes a limit, or the end, away."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(default_factory=str, min_length=1, max_length=100, description="What it is for.")
    expires_in_days: StrictInt | None = Field(None, ge=1, le=MAX_KEY_DAYS, description="From now; never, if null.")
    rate_per_minute: _Count | None = Field(
        None, le=MAX_LIMITS["rate_per_minute"], description="Requests a minute; null: the endpoint's own rate."
    )
    burst: _Count | None = Field(
        None, le=MAX_LIMITS["burst"], description="Requests that may come at once; null: as many as a minute's."
    )
    quota_per_day: _Count | None = Field(
        None, le=MAX_LIMITS["quota_per_day"], description="Inputs a day, from midnight UTC; null: without end."
    )


class KeyIn(KeyPatch):
    name: str = Field(min_length=1, max_length=100, description="What it is for.")


class KeyOut(Schema):
    id: str
    name: str
    prefix: str = Field(description="The first characters, to recognise it by.")
    endpoint: str
    rate_per_minute: int | None
    burst: int | None
    quota_per_day: int | None
    inputs_today: int = Field(description="Inputs since midnight UTC, as reported within the last ten seconds or so.")
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: EndpointKey) -> KeyOut:
        """From a row of `selectors.keys_of`."""
        return cls(
            id=row.public_id,
            name=row.name,
            prefix=row.prefix,
            endpoint=row.endpoint.name,
            rate_per_minute=row.rate_per_minute,
            burst=row.burst,
            quota_per_day=row.quota_per_day,
            inputs_today=row.inputs_today,
            created_at=row.created_at,
            created_by=row.created_by.username if row.created_by else None,
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
            revoked_at=row.revoked_at,
        )


class KeyCreated(KeyOut):
    key: str = Field(description="Shown once; only its hash is stored.")


class TimelineOut(Schema):
    model_config = ConfigDict(protected_namespaces=())

    at: datetime
    actor: str | None = Field(description="Null for the platform itself.")
    kind: str
    revision: int | None
    model_ref: str
    mlflow_run_id: str | None = Field(description="The run that made the version.")
    dataset: str | None = Field(description="The dataset version that it was trained on.")
    details: dict[str, Any] = Field(description="`numbers`: requests, errors, p50 and p95 of the endpoint then.")

    @classmethod
    def of(cls, entry: TimelineEntry, endpoint: Endpoint) -> TimelineOut:
        version = version_of_entry(entry, endpoint)
        return cls(
            at=entry.at,
            actor=entry.actor.username if entry.actor else None,
            kind=entry.kind,
            revision=entry.revision,
            model_ref=entry.model_ref,
            mlflow_run_id=(version.mlflow_run_id or None) if version else None,
            dataset=version.dataset_version.ref if version and version.dataset_version else None,
            details=told(entry.details),
        )


class AnsweredRevision(Schema):
    model_config = ConfigDict(protected_namespaces=())

    number: int
    name: str
    model: str
    weight: int
    mlflow_run_id: str | None
    dataset: str | None


class AnsweredOut(Schema):
    """Where traffic pointed at a moment, as the serving agent reported it, not as it was wished."""

    at: datetime
    since: datetime | None = Field(description="When the traffic had come there; null before anything was reported.")
    until: datetime | None = Field(description="When it moved on; null while it has not.")
    revisions: list[AnsweredRevision] = Field(description="None: nobody answered.")

    @classmethod
    def of(cls, endpoint: Endpoint, at: datetime) -> AnsweredOut:
        held, following = answered_at(endpoint, at)
        weights = held.details.get("weights", {}) if held is not None else {}
        models = held.details.get("models", {}) if held is not None else {}
        rows = {str(revision.number): revision for revision in endpoint.revisions.all()}
        revisions = []
        for number, weight in sorted(weights.items(), key=lambda item: int(item[0])):
            revision = rows.get(number)
            version = revision.model_version if revision is not None else None
            revisions.append(
                AnsweredRevision(
                    number=int(number),
                    name=revision.name if revision is not None else "",
                    model=models.get(number, ""),
                    weight=weight,
                    mlflow_run_id=(version.mlflow_run_id or None) if version else None,
                    dataset=version.dataset_version.ref if version and version.dataset_version else None,
                )
            )
        return cls(
            at=at,
            since=held.at if held is not None else None,
            until=following.at if following is not None else None,
            revisions=revisions,
        )


class TimelinePage(Schema):
    items: list[TimelineOut]
    next: str | None = Field(None, description="Pass as `cursor` for the following page; null on the last.")
    answered: AnsweredOut | None = Field(None, description="With `at`: what answered then.")
