"""What is answered when a request ends outside of its view: JSON in the one shape for the API, a page for people."""

from __future__ import annotations

import sys

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _

from apps.core.errors import AppError, DiskFull, error_response, of_crash, of_status


def is_api(request: HttpRequest) -> bool:
    """Whether the request is one of a program, by its address."""
    return request.path.startswith("/api/")


def refused(request: HttpRequest, error: AppError) -> HttpResponse:
    """The answer to a refused request."""
    if is_api(request):
        return error_response(request, error)
    context = {"error": error, "request_id": getattr(request, "request_id", "")}
    return render(request, "errors/refused.html", context, status=error.status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    error = of_status(400)
    if not is_api(request):
        error.hint = _("Go back to the page with the form, and open it anew.")
    return refused(request, error)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return refused(request, of_status(403))


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    error = of_status(404)
    if not is_api(request):
        error.message = _("There is nothing at this address.")
        error.hint = _("It may have been deleted, or belong to another workspace.")
    return refused(request, error)


def only_sent(request: HttpRequest, response: HttpResponseBase) -> HttpResponse:
    """Where a form leads to, asked for as a page: reloaded, or come back to from a change of the language."""
    error = of_status(405)
    error.message = _("A form is sent to this address; it has no page.")
    error.hint = _("Go back to the page with the form, and open it anew.")
    answer = refused(request, error)
    answer["Allow"] = response["Allow"]
    return answer


def server_error(request: HttpRequest) -> HttpResponse:
    # Django calls this while it handles the exception. A body is read before any view: by the check for forgery.
    crash = sys.exception()
    error = of_crash(crash) if isinstance(crash, Exception) else of_status(500)
    if is_api(request):
        return error_response(request, error)
    if isinstance(error, DiskFull):
        return refused(request, error)
    # No context processor runs: the page must stand when the database does not.
    return render(None, "errors/crashed.html", {"request_id": getattr(request, "request_id", "")}, status=500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    message = _("This form is too old, or came from another site.")
    hint = _("Reload the page and send it again; cookies must be allowed.")
    return refused(request, AppError(message, code="csrf_failed", status=403, hint=hint))
