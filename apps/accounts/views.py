"""Pages of settings: profile, members, tokens, audit; and the choice of the workspace."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.i18n import set_language

from apps.accounts import selectors, services
from apps.accounts.auth import identity_of, require
from apps.accounts.forms import EmailForm, MemberForm, ProfileForm, TokenForm, WorkspaceForm
from apps.accounts.middleware import WORKSPACE_KEY
from apps.accounts.models import Role, User
from apps.core.errors import AppError, NotFound

_THEME_COOKIE = "tuneyard_theme"


@require_POST
def workspace_switch(request: HttpRequest) -> HttpResponse:
    """Go on in another of one's workspaces."""
    name = request.POST.get("workspace", "")
    row = selectors.memberships_of(_user(request)).filter(workspace__name=name).first()
    if row is None:
        raise NotFound(_("You belong to no workspace of this name."))
    request.session[WORKSPACE_KEY] = row.workspace_id
    return redirect("home")


@login_not_required
@require_POST
def language_set(request: HttpRequest) -> HttpResponse:
    """The switch of the top bar: Django's own, and kept with the user who has signed in."""
    response = set_language(request)
    language = request.POST.get("language", "")
    if isinstance(request.user, User) and language in dict(settings.LANGUAGES):
        services.profile_update(user=request.user, language=language, theme=request.user.theme)
    return response


@require_GET
def settings_home(request: HttpRequest) -> HttpResponse:
    return redirect("settings_profile")


@require_http_methods(["GET", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    user = _user(request)
    theme = request.COOKIES.get(_THEME_COOKIE) or user.theme
    initial = {"language": user.language, "theme": theme}
    form = ProfileForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        services.profile_update(user=user, **form.cleaned_data)
        messages.success(request, _("Saved."))
        response = redirect("settings_profile")
        # The page's first paint knows only the cookie.
        response.set_cookie(_THEME_COOKIE, user.theme, max_age=31_536_000, samesite="Lax", secure=request.is_secure())
        return response
    return _profile(request, form, EmailForm(initial={"email": user.email}))


@require_POST
def profile_email(request: HttpRequest) -> HttpResponse:
    user = _user(request)
    form = EmailForm(request.POST)
    if form.is_valid():
        try:
            services.email_set(user=user, **form.cleaned_data, request_id=getattr(request, "request_id", ""))
        except AppError as refusal:
            form.refuse(refusal)
        else:
            messages.success(request, _("Saved."))
            return redirect("settings_profile")
    theme = request.COOKIES.get(_THEME_COOKIE) or user.theme
    return _profile(request, ProfileForm(initial={"language": user.language, "theme": theme}), form, status=422)


def _profile(request: HttpRequest, form: ProfileForm, email: EmailForm, *, status: int = 200) -> HttpResponse:
    context = {"form": form, "email_form": email, "tab": "profile"}
    return render(request, "settings/profile.html", context, status=status)


# --- members ----------------------------------------------------------------------------------------------------------


@require(Role.VIEWER)
@require_GET
def member_list(request: HttpRequest) -> HttpResponse:
    return _members(request, MemberForm())


@require(Role.OWNER)
@require_POST
def member_add(request: HttpRequest) -> HttpResponse:
    form = MemberForm(request.POST)
    if form.is_valid():
        data = form.cleaned_data
        try:
            made = services.member_add(
                by=identity_of(request), username=data["username"], email=data["email"], role=Role(data["role"])
            )
        except AppError as error:
            form.refuse(error)
        else:
            if made.one_time_password:
                # Shown in this answer only: it is neither stored nor in an address.
                name = made.membership.user.username
                return _members(request, MemberForm(), secret_for=name, secret=made.one_time_password)
            messages.success(request, _("%(name)s is a member now.") % {"name": made.membership.user.username})
            return redirect("settings_members")
    return _members(request, form, status=422)


@require(Role.OWNER)
@require_POST
def member_set_role(request: HttpRequest, username: str) -> HttpResponse:
    membership = selectors.member_by_username(identity_of(request).workspace, username)
    role = request.POST.get("role", "")
    if role not in Role.values:
        raise NotFound(_("There is no such role."))
    services.member_set_role(by=identity_of(request), membership=membership, role=Role(role))
    messages.success(request, _("%(name)s: %(role)s.") % {"name": username, "role": Role(role).label})
    return redirect("settings_members")


@require(Role.VIEWER)
@require_POST
def member_remove(request: HttpRequest, username: str) -> HttpResponse:
    identity = identity_of(request)
    membership = selectors.member_by_username(identity.workspace, username)
    services.member_remove(by=identity, membership=membership)
    messages.success(request, _("%(name)s is no member any more.") % {"name": username})
    return redirect("home" if username == identity.user.username else "settings_members")


@require(Role.OWNER)
@require_POST
def member_reset_password(request: HttpRequest, username: str) -> HttpResponse:
    membership = selectors.member_by_username(identity_of(request).workspace, username)
    password = services.member_reset_password(by=identity_of(request), membership=membership)
    return _members(request, MemberForm(), secret_for=username, secret=password)


@require(Role.OWNER)
@require_http_methods(["GET", "POST"])
def workspace_create(request: HttpRequest) -> HttpResponse:
    form = WorkspaceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.workspace_create(by=identity_of(request), **form.cleaned_data)
        except AppError as error:
            form.refuse(error)
        else:
            request.session[WORKSPACE_KEY] = made.pk
            messages.success(request, _("You are in the new workspace %(title)s.") % {"title": made.title})
            return redirect("home")
    status = 422 if form.errors else 200
    return render(request, "settings/workspace.html", {"form": form, "tab": "members"}, status=status)


def _members(request: HttpRequest, form: MemberForm, *, status: int = 200, **context: Any) -> HttpResponse:
    rows = selectors.members(identity_of(request).workspace)
    context |= {"rows": rows, "form": form, "roles": Role, "tab": "members"}
    return _private(render(request, "settings/members.html", context, status=status))


# --- tokens -----------------------------------------------------------------------------------------------------------


@require(Role.VIEWER)
@require_http_methods(["GET", "POST"])
def token_list(request: HttpRequest) -> HttpResponse:
    identity = identity_of(request)
    form = TokenForm(request.POST or None, highest=identity.role)
    plain = None
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            _row, plain = services.token_create(
                by=identity, name=data["name"], role=Role(data["role"]), expires_in_days=data["expires_in_days"]
            )
            form = TokenForm(highest=identity.role)
        except AppError as error:
            form.refuse(error)
    context = {"rows": selectors.tokens(identity).order_by("revoked_at", "-pk"), "form": form, "plain": plain}
    status = 422 if form.is_bound and form.errors else 200
    return _private(render(request, "settings/tokens.html", {**context, "tab": "tokens"}, status=status))


@require(Role.VIEWER)
@require_POST
def token_revoke(request: HttpRequest, token_id: str) -> HttpResponse:
    identity = identity_of(request)
    token = services.token_revoke(by=identity, token=selectors.token_by_public_id(identity, token_id))
    messages.success(request, _("The token %(name)s opens nothing any more.") % {"name": token.name})
    return redirect("settings_tokens")


# --- audit ------------------------------------------------------------------------------------------------------------


@require(Role.MAINTAINER)
@require_GET
def audit_list(request: HttpRequest) -> HttpResponse:
    wanted = {name: request.GET.get(name, "")[:200] for name in ("action", "target", "actor")}
    entries = selectors.audit_entries(identity_of(request).workspace, **wanted)
    page = Paginator(entries, 50).get_page(request.GET.get("page"))
    return render(request, "settings/audit.html", {"page": page, "wanted": wanted, "tab": "audit"})


def _private(response: HttpResponse) -> HttpResponse:
    """A page that may show a secret is kept by no cache, nor by the browser's history."""
    response["Cache-Control"] = "no-store"
    return response


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # noqa: S101 - PageLoginMiddleware
    return request.user
