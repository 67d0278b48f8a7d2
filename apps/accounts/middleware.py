"""Default deny for pages, the workspace of the session on each request, and the change of a one-time password."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils import translation

from apps.accounts.models import Membership, Role

#: Session key of the chosen workspace's primary key.
WORKSPACE_KEY = "workspace"


class PageLoginMiddleware(LoginRequiredMiddleware):
    """Every page needs a sign-in. The API is left to its own default auth, which answers 401 instead of redirecting."""

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponseBase | None:
        if request.path.startswith("/api/"):
            return None
        return super().process_view(request, view, args, kwargs)


class WorkspaceMiddleware:
    """Put the workspace chosen in the session, and the role in it, on the request; follow the user's language."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.workspace = request.role = None  # type: ignore[attr-defined]
        # A program with a token has no session; asking for its user would cost a query for nothing.
        if settings.SESSION_COOKIE_NAME in request.COOKIES and request.user.is_authenticated:
            memberships = Membership.objects.select_related("workspace").filter(user=request.user)
            chosen = memberships.filter(workspace_id=request.session.get(WORKSPACE_KEY) or 0).first()
            membership = chosen or memberships.order_by("workspace__name").first()
            if membership is not None:
                request.workspace = membership.workspace  # type: ignore[attr-defined]
                request.role = Role(membership.role)  # type: ignore[attr-defined]
            if language := getattr(request.user, "language", ""):
                translation.activate(language)
                request.LANGUAGE_CODE = translation.get_language()
        return self.get_response(request)


class PasswordChangeMiddleware:
    """Until a one-time password is changed, every page leads to its change."""

    #: Names of the pages that stay open.
    OPEN = frozenset({"account_change_password", "account_logout", "set_language"})

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        # The API answers by itself, in its own shape.
        if request.path.startswith("/api/") or not getattr(request.user, "must_change_password", False):
            return None
        match = request.resolver_match
        return None if match and match.url_name in self.OPEN else redirect("account_change_password")
