"""Default deny for pages, and the workspace of the session on each request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest, HttpResponse

from apps.accounts.models import Membership, Role

#: Session key of the chosen workspace's primary key.
WORKSPACE_KEY = "workspace"


class PageLoginMiddleware(LoginRequiredMiddleware):
    """Every page needs a sign-in. The API is left to its own default auth, which answers 401 instead of redirecting."""

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        if request.path.startswith("/api/"):
            return None
        return super().process_view(request, view, args, kwargs)


class WorkspaceMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.workspace = request.role = None  # type: ignore[attr-defined]
        if request.user.is_authenticated:
            memberships = Membership.objects.select_related("workspace").filter(user=request.user)
            chosen = memberships.filter(workspace_id=request.session.get(WORKSPACE_KEY)).first()
            membership = chosen or memberships.order_by("workspace__name").first()
            if membership is not None:
                request.workspace = membership.workspace  # type: ignore[attr-defined]
                request.role = Role(membership.role)  # type: ignore[attr-defined]
        return self.get_response(request)
