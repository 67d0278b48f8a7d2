"""From the front's segments to rows, and the end of rows: idempotent, so that no kill loses or doubles anything.

A segment is deleted only after its rows have been committed; a row that is there already is left as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.accounts.models import ApiToken
from apps.deployments.models import Endpoint, EndpointKey
from apps.monitoring.judging import feedback_join
from apps.monitoring.models import Feedback, RequestSample
from modelkit.serving.paths import ServingPaths
from modelkit.serving.plan import Sampling
from modelkit.serving.segments import claimed, segments

logger = logging.getLogger(__name__)

#: Of one endpoint, whatever its retention says.
MAX_SAMPLES = 20_000
#: A program may give feedback on every answer; the oldest goes first.
MAX_FEEDBACK = 200_000
#: Fields that hold whatever was sent, empty or not.
_LOOSE = ("endpoint", "inputs", "outputs", "text", "labels", "min_score")
#: Rows a transaction, since writers wait for each other.
_BATCH = 200


def samples_import() -> int:
    """Make rows of every segment that is complete; returns how many lines there were."""
    return sum(_import(path) for path in segments(ServingPaths(Path(settings.HOME)).samples))


def samples_forget() -> int:
    """Delete what is older than its endpoint keeps, and the oldest of too many; join what was not joined yet."""
    deleted = 0
    for endpoint in Endpoint.objects.only("pk", "sampling").iterator():
        days = Sampling.model_validate(endpoint.sampling).keep_days
        mine = RequestSample.objects.filter(endpoint=endpoint)
        deleted += _delete(mine.filter(at__lt=timezone.now() - timedelta(days=days)))
        deleted += _delete_above(mine, MAX_SAMPLES)
        deleted += _delete_above(Feedback.objects.filter(endpoint=endpoint), MAX_FEEDBACK)
    # An import and somebody's feedback at the same moment may each have missed the other.
    feedback_join(Feedback.objects.filter(revision=None))
    return deleted


def _delete_above(rows: QuerySet[Any], most: int) -> int:
    """Delete the oldest rows above so many."""
    too_many = list(rows.order_by("-pk").values_list("pk", flat=True)[most : most + 1])
    return _delete(rows.filter(pk__lte=too_many[0])) if too_many else 0


def _delete(rows: QuerySet[Any]) -> int:
    total = 0
    while keys := list(rows.order_by("pk").values_list("pk", flat=True)[: _BATCH * 5]):
        total += rows.model._default_manager.filter(pk__in=keys).delete()[0]
    return total


def _import(path: Path) -> int:
    with claimed(path) as lines:
        if not lines:
            return 0
        endpoints = _endpoints(lines)
        keys = {line.get("key") for line in lines if line.get("key")}
        names = {
            sha256: name
            for kind in (ApiToken, EndpointKey)
            for sha256, name in kind.objects.filter(sha256__in=keys).values_list("sha256", "name")
        }
        rows = []
        for line in lines:
            endpoint = endpoints.get((line.get("workspace"), line.get("endpoint")))
            if endpoint is not None:  # else it was deleted meanwhile, and its requests with it
                rows += _row(line, endpoint, names)
        for begin in range(0, len(rows), _BATCH):
            part = rows[begin : begin + _BATCH]
            with transaction.atomic():
                RequestSample.objects.bulk_create(part, ignore_conflicts=True)
                ids = {row.request_id for row in part}
                feedback_join(
                    Feedback.objects.filter(endpoint__in=endpoints.values(), request_id__in=ids, revision=None)
                )
        return len(lines)


def _endpoints(lines: Iterable[dict[str, Any]]) -> dict[tuple[Any, Any], Endpoint]:
    wanted = {(line.get("workspace"), line.get("endpoint")) for line in lines}
    found = Endpoint.objects.filter(workspace__public_id__in={w for w, _ in wanted}, name__in={n for _, n in wanted})
    return {(row.workspace.public_id, row.name): row for row in found.select_related("workspace")}


def _row(line: dict[str, Any], endpoint: Endpoint, names: dict[str, str]) -> list[RequestSample]:
    """The row of a line; none for one that another version of the front wrote otherwise."""
    try:
        outputs = list(line["outputs"])
        labels = [str(row["label"]) for row in outputs if "label" in row]
        scores = [float(row["score"]) for row in outputs if row.get("score") is not None]
        queue_ms, preprocess_ms, model_ms, batch, tokens = line["cost"]
        row = RequestSample(
            endpoint=endpoint,
            sample_id=line["id"],
            request_id=line["request_id"],
            revision=line["revision"],
            model_ref=line["model"],
            at=datetime.fromtimestamp(line["at"], UTC),
            status=line["status"],
            error=line["error"],
            key_name=names.get(line["key"], ""),
            items=line["items"],
            inputs=line["inputs"],
            outputs=outputs,
            text="\n".join(_text(value) for value in line["inputs"]),
            labels="".join(f"\n{label}" for label in labels) + "\n" if labels else "",
            min_score=min(scores, default=None),
            total_ms=line["total_ms"],
            queue_ms=queue_ms,
            preprocess_ms=preprocess_ms,
            model_ms=model_ms,
            batch=batch,
            tokens=tokens,
        )
        # What the database would refuse, it would refuse again and again, with all that lies behind it.
        row.clean_fields(exclude=_LOOSE)
        return [row]
    except (KeyError, TypeError, ValueError, OverflowError, ValidationError) as error:
        logger.warning("A sample of %s cannot be read and is left out: %s", endpoint.name, type(error).__name__)
        return []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
