"""Errors with the one shape of the API: `{"error": {"code", "message", "fields", "hint", "request_id"}}`.

Services raise these; the API answers them as JSON and pages show them beside the field.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import RawPostDataException
from django.utils.translation import gettext_lazy as _
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from apps.core.wording import told
from modelkit.errors import UserError
from modelkit.wording import Said, both

logger = logging.getLogger(__name__)


class AppError(Exception):
    """A refusal with its reason. `fields` maps an input's path (`params.epochs`) to what is wrong with it."""

    status = 400
    code = "bad_request"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        hint: str = "",
        fields: Mapping[str, str] | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = str(told(message))
        self.code = code or self.code
        self.hint = str(told(hint))
        self.fields = {name: str(told(text)) for name, text in (fields or {}).items()}
        #: The same for a row that stores why something failed: a sentence, if it was raised with one.
        self.reason = both(*(text if isinstance(text, Said) else str(text) for text in (message, hint)))
        self.status = status or self.status


class Invalid(AppError):
    """An input is wrong; `fields` says which and how."""

    status = 422
    code = "invalid"


class NotFound(AppError):
    """Not there, or in another workspace: the two are not told apart."""

    status = 404
    code = "not_found"


class Conflict(AppError):
    """The request does not fit the present state."""

    status = 409
    code = "conflict"


class Forbidden(AppError):
    """The role does not suffice."""

    status = 403
    code = "forbidden"


class Unavailable(AppError):
    """A part the request needs is down; trying again later may help."""

    status = 503
    code = "unavailable"


class DiskFull(AppError):
    """The server has no room for what was sent; nothing of it is kept."""

    status = 507
    code = "disk_full"

    def __init__(self) -> None:
        hint = _("Ask an admin to free some space, for example by deleting old jobs and datasets; then send it again.")
        super().__init__(str(_("The server's disk is full.")), hint=str(hint))


class TooLarge(AppError):
    """The body is larger than what is accepted."""

    status = 413
    code = "too_large"


class Unauthenticated(AppError):
    """Nobody, or nobody known."""

    status = 401
    code = "unauthenticated"


#: Codes for answers that Django or ninja give on their own.
CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
    507: "disk_full",
}

#: No room on the file system, or none left for this user.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def error_body(request: HttpRequest, error: AppError) -> dict[str, Any]:
    """The one shape."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "fields": error.fields,
            "hint": error.hint,
            "request_id": getattr(request, "request_id", ""),
        }
    }


def error_response(request: HttpRequest, error: AppError) -> JsonResponse:
    """The answer to a refused API call."""
    response = JsonResponse(error_body(request, error), status=error.status)
    if error.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    if error.status in {429, 503}:
        response["Retry-After"] = "5"
    return response


def of_status(status: int, *, message: str = "") -> AppError:
    """The error for an answer that carries no more than its status."""
    return AppError(
        str(message or _MESSAGES.get(status, "This request cannot be answered.")),
        code=CODES.get(status, "error"),
        status=status,
        hint=str(_HINTS.get(status, _HINTS[400] if status < 500 else _HINTS[500])),
    )


def of_user_error(error: UserError, *, status: int = 422) -> AppError:
    """A `UserError` of the ML library as an API error."""
    fields = {error.field: error.message} if error.field else {}
    return AppError(error.message, code=error.code, hint=error.hint, fields=fields, status=status)


def of_crash(error: Exception) -> AppError:
    """What may be told of an error that nobody meant to raise."""
    if isinstance(error, OperationalError):
        if "disk is full" in str(error):
            return DiskFull()
        return Unavailable("The database is busy or down.", hint="Send the same request again in a moment.")
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return DiskFull()
    return of_status(500)


_MESSAGES = {
    400: _("The request cannot be read."),
    401: _("Sign in, or send a token."),
    403: _("You may not do this."),
    404: _("There is nothing here by that name."),
    405: _("This address does not take this method."),
    413: _("The body is larger than what is accepted."),
    429: _("Too many requests."),
    500: _("Something broke on our side."),
}
_HINTS = {
    400: _("Send what the reference of the API shows for this address; `/api/v1/openapi.json` holds it."),
    401: _("Send the header `Authorization: Bearer ty_...` with a token that is valid and not expired."),
    403: _("Ask an owner of the workspace for the role that it needs."),
    404: _("Check the name and the workspace; `/api/v1/openapi.json` lists every address."),
    405: _("The header Allow names the methods that it takes."),
    413: _("Send less at once; files go as multipart."),
    429: _("Wait a few seconds, then send the request again."),
    500: _("Try again; if it stays, give the request id to whoever runs this installation."),
}


def field_errors(errors: Sequence[Mapping[str, Any]], body: object = None) -> dict[str, str]:
    """What is wrong by field path, from pydantic's errors as ninja reports them.

    The first parts of a location say where ninja found the value (`body`, the argument's name); users know the rest.
    Within a union pydantic adds the tag of the kind that was chosen (`train.dataset`); `body`, the document as it was
    sent, tells such parts from what users wrote.
    """
    fields: dict[str, str] = {}
    for item in errors:
        location = [str(part) for part in item["loc"]] or ["body"]
        inner = _sent(location[2:], body) if location[0] in {"body", "form", "file"} else location[1:]
        fallback = "body" if location[0] == "body" else location[-1]
        message = str(item["msg"])
        if discriminator := str(item.get("ctx", {}).get("discriminator", "")).strip("'"):
            inner = [*inner, discriminator]
            tags = item["ctx"].get("expected_tags")
            message = f"Input should be one of {tags}" if tags else "Field required"
        fields.setdefault(".".join(inner) or fallback, message)
    return fields


def _sent(path: Sequence[str], body: object) -> list[str]:
    """`path` without the parts that no key of `body` stands for; the last one may be a key that is missing."""
    kept = []
    for index, part in enumerate(path):
        tag = isinstance(body, dict) and part not in body and index + 1 < len(path)
        if tag or part == "[key]":
            continue
        kept.append(part)
        body = body.get(part) if isinstance(body, dict) else None
    return kept


def _document(request: HttpRequest) -> object:
    """The JSON that was sent, None for anything else."""
    if request.content_type != "application/json":
        return None
    try:
        return orjson.loads(request.body)
    except (orjson.JSONDecodeError, RawPostDataException):
        return None


def register_error_handlers(api: NinjaAPI) -> None:
    """Give every way an API call can fail the one shape."""

    @api.exception_handler(AppError)
    def _app_error(request: HttpRequest, error: AppError) -> HttpResponse:
        return error_response(request, error)

    @api.exception_handler(UserError)
    def _user_error(request: HttpRequest, error: UserError) -> HttpResponse:
        return error_response(request, of_user_error(error))

    @api.exception_handler(ValidationError)
    def _validation(request: HttpRequest, error: ValidationError) -> HttpResponse:
        fields = field_errors(error.errors, _document(request))
        hint = "Correct the named fields and send again."
        return error_response(request, Invalid("Some values are not valid.", fields=fields, hint=hint))

    @api.exception_handler(AuthenticationError)
    def _authentication(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
        return error_response(request, of_status(401))

    @api.exception_handler(HttpError)
    def _http(request: HttpRequest, error: HttpError) -> HttpResponse:
        # ninja wraps what its parser raised.
        cause = error.__cause__
        if isinstance(cause, AppError):
            return error_response(request, cause)
        return error_response(request, of_status(error.status_code, message=error.message))

    @api.exception_handler(SuspiciousOperation)
    @api.exception_handler(MultiPartParserError)
    def _unreadable(request: HttpRequest, error: Exception) -> HttpResponse:
        return error_response(request, of_status(400))

    @api.exception_handler(RequestDataTooBig)
    def _too_large(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
        return error_response(request, of_status(413))

    @api.exception_handler(Http404)
    def _missing(request: HttpRequest, error: Http404) -> HttpResponse:
        return error_response(request, of_status(404))

    @api.exception_handler(Exception)
    def _crash(request: HttpRequest, error: Exception) -> HttpResponse:
        logger.exception("API call %s failed", getattr(request, "request_id", ""))
        return error_response(request, of_crash(error))
