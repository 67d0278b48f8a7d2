"""Errors with the one shape of the API: `{"error": {"code", "message", "fields", "hint", "request_id"}}`.

Services raise these; the API answers them as JSON and pages show them beside the field.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

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
        self.message = str(message)
        self.code = code or self.code
        self.hint = str(hint)
        self.fields = {name: str(text) for name, text in (fields or {}).items()}
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
    return JsonResponse(error_body(request, error), status=error.status)


def register_error_handlers(api: NinjaAPI) -> None:
    """Give every way an API call can fail the one shape."""

    @api.exception_handler(AppError)
    def _app_error(request: HttpRequest, error: AppError) -> HttpResponse:
        return error_response(request, error)

    @api.exception_handler(ValidationError)
    def _validation(request: HttpRequest, error: ValidationError) -> HttpResponse:
        fields = {}
        for item in error.errors:
            # The first parts name where ninja found the value (body, payload); the user knows the rest.
            location = [str(part) for part in item["loc"]]
            fields[
                ".".join(location[2:] if location[0] in {"body", "form", "file"} else location[1:]) or location[-1]
            ] = item["msg"]
        return error_response(
            request,
            Invalid("Some values are not valid.", fields=fields, hint="Correct the named fields and send again."),
        )

    @api.exception_handler(AuthenticationError)
    def _authentication(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
        return error_response(
            request,
            AppError(
                "Sign in, or send a token.",
                code="unauthenticated",
                status=401,
                hint="Send the header `Authorization: Bearer ty_...` with a token that is valid and not expired.",
            ),
        )

    @api.exception_handler(HttpError)
    def _http(request: HttpRequest, error: HttpError) -> HttpResponse:
        code = {400: "bad_request", 405: "method_not_allowed", 413: "too_large", 429: "too_many_requests"}
        status = error.status_code
        return error_response(request, AppError(error.message, code=code.get(status, "error"), status=status))

    @api.exception_handler(Http404)
    def _missing(request: HttpRequest, error: Http404) -> HttpResponse:
        return error_response(request, NotFound("There is nothing here by that name."))

    @api.exception_handler(Exception)
    def _crash(request: HttpRequest, error: Exception) -> HttpResponse:
        logger.exception("API call failed", extra={"request_id": getattr(request, "request_id", "")})
        return error_response(
            request,
            AppError(
                "Something broke on our side.",
                code="internal",
                status=500,
                hint="Try again; if it stays, give the request id to whoever runs this installation.",
            ),
        )
