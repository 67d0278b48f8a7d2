"""A request id on every answer, the security policy of pages, and the one error shape where ninja is not asked."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase

from apps.core import error_pages
from apps.core.errors import AppError, TooLarge, error_response, of_status, of_user_error
from apps.core.ids import new_id
from modelkit.errors import UserError

Handler = Callable[[HttpRequest], HttpResponseBase]

#: Nothing is loaded from elsewhere, no script is inline. ECharts sets style properties from script, which is allowed.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
#: Powers of the browser that no page of ours uses.
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
_API_ROOT = "/api/v1/"
#: Room for the multipart frame around a file of the largest size.
_FRAME_BYTES = 1024 * 1024


class RequestIdMiddleware:
    """Give each request an id, told back in `X-Request-ID` and in every error."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.request_id = new_id()  # type: ignore[attr-defined]
        response = self.get_response(request)
        response["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
        return response


class ApiSlashMiddleware:
    """Answer `/api/v1/datasets/` as `/api/v1/datasets`: clients that join addresses often leave a slash at the end.

    Rewritten rather than redirected: a redirected POST arrives as a GET without its body.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if error_pages.is_api(request) and request.path.endswith("/") and request.path != _API_ROOT:
            request.path = request.path.rstrip("/")
            request.path_info = request.path_info.rstrip("/")
        return self.get_response(request)


class SecurityPolicyMiddleware:
    """Send the Content-Security-Policy with every answer; API answers are not kept by caches."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        if error_pages.is_api(request):
            response.headers.setdefault("Cache-Control", "no-store")
        return response


class ErrorShapeMiddleware:
    """Refuse what no view should see, and give API answers made outside of ninja (404, 405, CSRF) the one shape.

    For pages, a refusal raised by a view, and the address of a form that is opened like a page, become a page that says
    what happened and what to do.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if refusal := _refusal(request):
            return error_pages.refused(request, refusal)
        response = self.get_response(request)
        if not error_pages.is_api(request):
            only_sent = isinstance(response, HttpResponseNotAllowed)
            return error_pages.only_sent(request, response) if only_sent else response
        if response.status_code < 400:
            return response
        if response.get("Content-Type", "").startswith("application/json"):
            return response
        shaped = error_response(request, of_status(response.status_code))
        for header in ("Allow", "Retry-After"):
            if header in response.headers:
                shaped[header] = response[header]
        return shaped

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, UserError):
            return error_pages.refused(request, of_user_error(exception))
        return error_pages.refused(request, exception) if isinstance(exception, AppError) else None


def _refusal(request: HttpRequest) -> AppError | None:
    if "\0" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
        return AppError("The address holds a NUL character.", code="nul_character", hint="Remove %00 from the address.")
    length = request.META.get("CONTENT_LENGTH") or "0"
    limit = settings.UPLOAD_LIMIT_BYTES
    if length.isdigit() and int(length) > limit + _FRAME_BYTES:
        return TooLarge(
            f"The body is larger than the {limit // (1024 * 1024)} MB that are accepted.",
            hint="Split the file, or raise TUNEYARD_UPLOAD_LIMIT_MB.",
        )
    return None
