"""What the API of requests and feedback takes and answers; the page's filters are the same."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from ninja import Schema
from pydantic import ConfigDict, Field

from apps.core.pagination import PageQuery
from apps.core.parsing import Moment
from apps.monitoring.feedback import MAX_COMMENT, MAX_INDEX, Accuracy
from apps.monitoring.models import Feedback, RequestSample


class RequestQuery(PageQuery):
    """Filters of the request log; all that are given must hold."""

    text: str | None = Field(None, max_length=200, description="Occurs in an input.")
    label: str | None = Field(None, max_length=500, description="Was answered.")
    revision: int | None = Field(None, ge=1, le=2_147_483_647)
    below: float | None = Field(None, ge=0, le=1, description="The lowest score of the answer is below this.")
    request_id: str | None = Field(None, max_length=64)
    after: Moment | None = Field(None, description="Answered at this time or later.")
    before: Moment | None = Field(None, description="Answered before this time.")
    feedback: Literal["any", "none", "up", "down", "corrected"] | None = None
    failed: bool | None = Field(None, description="Only those on which the model failed, or only the others.")


class FeedbackIn(Schema):
    """A rating, a corrected label, or both."""

    model_config = ConfigDict(extra="forbid")

    request_id: str = Field(min_length=1, max_length=64, description="As the answer told it.")
    rating: Literal["up", "down"] | None = None
    label: str | None = Field(None, min_length=1, max_length=500, description="What would have been right.")
    comment: str = Field("", max_length=MAX_COMMENT)
    index: int = Field(0, ge=0, le=MAX_INDEX, description="Which input of the request, from 0.")
    endpoint: str | None = Field(
        None, max_length=63, description="Needed only for a request id of your own making that was not sampled."
    )


class FeedbackOut(Schema):
    endpoint: str
    request_id: str
    index: int
    rating: Literal["up", "down"] | None
    label: str | None
    comment: str
    predicted: str | None = Field(description="What was answered, once the request is known from the log.")
    revision: int | None
    agrees: bool | None = Field(description="Null for a label whose request was not sampled.")
    author: str | None
    at: datetime

    @classmethod
    def of(cls, row: Feedback) -> FeedbackOut:
        return cls(
            endpoint=row.endpoint.name,
            request_id=row.request_id,
            index=row.index,
            rating=row.rating or None,  # type: ignore[arg-type]  # the choices of the column
            label=row.label or None,
            comment=row.comment,
            predicted=row.predicted or None,
            revision=row.revision,
            agrees=row.agrees,
            author=row.author.username if row.author else None,
            at=row.at,
        )


class LatencyOut(Schema):
    """Milliseconds: `total` from request read to answer written, of which the runner accounts for three stages."""

    model_config = ConfigDict(protected_namespaces=())

    total: float
    queue: float
    preprocess: float
    model: float


class RequestOut(Schema):
    model_config = ConfigDict(protected_namespaces=())

    id: str
    request_id: str
    at: datetime
    status: int
    error: str
    revision: int
    model: str
    key: str = Field(description="Name of the token that asked; empty for a page or a token that is gone.")
    items: int = Field(description="Inputs of the request; fewer may be kept.")
    inputs: list[Any] = Field(description="Redacted before they were written; empty where inputs are not kept.")
    outputs: list[dict[str, Any]]
    latency_ms: LatencyOut
    batch: int
    tokens: int
    feedback: list[FeedbackOut]

    @classmethod
    def of(cls, row: RequestSample, feedback: list[Feedback]) -> RequestOut:
        return cls(
            id=row.sample_id,
            request_id=row.request_id,
            at=row.at,
            status=row.status,
            error=row.error,
            revision=row.revision,
            model=row.model_ref,
            key=row.key_name,
            items=row.items,
            inputs=row.inputs,
            outputs=row.outputs,
            latency_ms=LatencyOut(
                total=row.total_ms, queue=row.queue_ms, preprocess=row.preprocess_ms, model=row.model_ms
            ),
            batch=row.batch,
            tokens=row.tokens,
            feedback=[FeedbackOut.of(one) for one in feedback],
        )


class AccuracyOut(Schema):
    judged: int = Field(description="Answers that somebody called right or wrong.")
    agreed: int
    share: float | None = Field(description="agreed / judged; null where nothing was judged.")
    waiting: int = Field(description="Labels given for requests that are not in the log so far.")

    @classmethod
    def of(cls, found: Accuracy) -> AccuracyOut:
        return cls(judged=found.judged, agreed=found.agreed, share=found.share, waiting=found.waiting)


class EndpointAccuracyOut(AccuracyOut):
    revisions: dict[str, AccuracyOut] = Field(description="By revision, as far as the requests are known.")


class CorrectionsIn(Schema):
    model_config = ConfigDict(extra="forbid")

    dataset: str | None = Field(
        None, max_length=63, description="Made if need be; by default the endpoint's name and -feedback."
    )
