"""`Idempotency-Key`: a repeated POST gets the first one's answer and starts nothing anew.

Put `@idempotent()` right above the function, below `@router.post` and `@require`. Only answers below 400 are
remembered, so that a refused request may be corrected and sent again with the same key.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

import orjson
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from ninja.decorators import decorate_view

from apps.core.errors import Conflict, Invalid
from apps.core.models import IdempotencyRecord
from apps.core.wrapping import wraps_api

HEADER = "Idempotency-Key"
MAX_LENGTH = 200
KEPT_FOR = timedelta(hours=24)
#: After this a request under way is taken for dead. Longer than any request lasts.
_ABANDONED_AFTER = timedelta(minutes=30)
_WAIT_S = 5.0
_ATTRIBUTE = "_idempotency_record"


def idempotent(*, atomic: bool = True) -> Callable[[Any], Any]:
    """Remember the answer of an API function by the request's `Idempotency-Key`.

    With `atomic` the work and the memory of it commit together: after a crash both are there or neither. Without it,
    for work too slow to hold the database's write lock (uploads), a crash in between leaves the key blocked for half
    an hour.
    """

    def decorate(function: Any) -> Any:
        @wraps_api(function)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            key = request.headers.get(HEADER)
            if key is None:
                return function(request, *args, **kwargs)
            answer = _replay_or_reserve(request, key)
            return answer if answer is not None else function(request, *args, **kwargs)

        def remember(run: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
            @wraps(run)
            def remembering(request: HttpRequest, **kwargs: Any) -> HttpResponse:
                if HEADER not in request.headers:
                    return run(request, **kwargs)
                return _run_atomic(run, request, kwargs) if atomic else _run_reserved(run, request, kwargs)

            return remembering

        decorate_view(remember)(guarded)
        _document(guarded)
        return guarded

    return decorate


def records_forget(*, before_hours: int = 24) -> int:
    """Delete answers older than `before_hours`; returns how many. Called by upkeep."""
    deleted, _by_model = IdempotencyRecord.objects.filter(
        created_at__lt=timezone.now() - timedelta(hours=before_hours)
    ).delete()
    return deleted


def _run_atomic(run: Callable[..., HttpResponse], request: HttpRequest, kwargs: dict[str, Any]) -> HttpResponse:
    with transaction.atomic():
        response = run(request, **kwargs)
        if response.status_code >= 400:
            transaction.set_rollback(True)
        else:
            _store(request, response)
    return response


def _run_reserved(run: Callable[..., HttpResponse], request: HttpRequest, kwargs: dict[str, Any]) -> HttpResponse:
    response = run(request, **kwargs)
    record = getattr(request, _ATTRIBUTE, None)
    if response.status_code >= 400 and record is not None:
        record.delete()
    else:
        _store(request, response)
    return response


def _store(request: HttpRequest, response: HttpResponse) -> None:
    record: IdempotencyRecord | None = getattr(request, _ATTRIBUTE, None)
    if record is not None:
        record.status = response.status_code
        record.body = orjson.loads(response.content) if response.content else None
        record.save(update_fields=["status", "body"])


def _replay_or_reserve(request: HttpRequest, key: str) -> HttpResponse | None:
    """The remembered answer, or None after reserving the key for the request under way."""
    if not 1 <= len(key) <= MAX_LENGTH or not key.isprintable():
        message = f"Use 1 to {MAX_LENGTH} printable characters."
        raise Invalid(message, fields={HEADER: message}, hint="A UUID is a good key.")
    identity = request.auth  # type: ignore[attr-defined]
    # The user is part of it: what one was answered is not for another.
    scope = f"{identity.workspace.public_id}:{identity.user.pk}:{request.method}:{request.path}"
    if len(scope) > 200:
        scope = hashlib.sha256(scope.encode()).hexdigest()
    digest = _body_digest(request)
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            with transaction.atomic():
                record = IdempotencyRecord.objects.create(scope=scope, key=key, body_sha256=digest)
            setattr(request, _ATTRIBUTE, record)
            return None
        except IntegrityError:
            found = IdempotencyRecord.objects.filter(scope=scope, key=key).first()
        if found is None:
            continue
        if found.body_sha256 != digest:
            raise Invalid(
                "This Idempotency-Key was used with another body.",
                code="idempotency_mismatch",
                fields={HEADER: "Used before with another body."},
                hint="Use a new key for a new request.",
            )
        age = timezone.now() - found.created_at
        if found.status is not None and age < KEPT_FOR:
            return _replay(found)
        if found.status is not None or age > _ABANDONED_AFTER:
            IdempotencyRecord.objects.filter(pk=found.pk).delete()
            continue
        if time.monotonic() > deadline:
            raise Conflict(
                "The first request with this Idempotency-Key is still under way.",
                code="idempotency_in_progress",
                hint="Send it again in a few seconds.",
            )
        time.sleep(0.05)


def _replay(record: IdempotencyRecord) -> HttpResponse:
    status = record.status or 200
    response = (
        HttpResponse(status=status) if record.body is None else JsonResponse(record.body, status=status, safe=False)
    )
    response["Idempotent-Replay"] = "true"
    return response


def _body_digest(request: HttpRequest) -> str:
    """A digest of the body; of a multipart one its fields and the names and sizes of its files (see the reference)."""
    digest = hashlib.sha256()
    if (request.content_type or "").startswith("multipart/"):
        fields = sorted((name, values) for name, values in request.POST.lists())
        files = sorted((name, [(f.name, f.size) for f in request.FILES.getlist(name)]) for name in request.FILES)
        digest.update(orjson.dumps([fields, files]))
    else:
        digest.update(request.body)
    return digest.hexdigest()


def _document(function: Any) -> None:
    """Name the header in the OpenAPI document."""
    parameter = {
        "in": "header",
        "name": HEADER,
        "required": False,
        "description": "A repeat with the same key and body within 24 hours gets the same answer.",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH},
    }

    def contribute(operation: Any) -> None:
        extra = dict(operation.openapi_extra or {})
        extra["parameters"] = [*extra.get("parameters", []), parameter]
        operation.openapi_extra = extra

    function._ninja_contribute_to_operation = [*getattr(function, "_ninja_contribute_to_operation", []), contribute]
