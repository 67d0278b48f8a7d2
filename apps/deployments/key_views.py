"""The Keys tab of an endpoint: make, change, revoke. It is shown by `views.endpoint_detail`."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from apps.accounts.auth import identity_of, require
from apps.accounts.models import Role
from apps.core.errors import AppError
from apps.deployments import keeping, selectors
from apps.deployments.forms import KeyForm
from apps.deployments.models import Endpoint
from apps.deployments.pages import endpoint_context


# The answer holds the key, once: it must lie in no cache.
@never_cache
@require_POST
@require(Role.DEVELOPER)
def key_create(request: HttpRequest, name: str) -> HttpResponse:
    identity = identity_of(request)
    endpoint = selectors.endpoint_by_name(identity.workspace, name)
    form = KeyForm(request.POST)
    if form.is_valid():
        try:
            row, plain = keeping.endpoint_key_create(
                by=identity,
                endpoint=endpoint,
                name=form.cleaned_data["name"],
                expires_in_days=form.cleaned_data["expires_in_days"],
                limits=form.limits,
            )
            return _page(request, endpoint, key_form=KeyForm(), made=row, plain=plain)
        except AppError as error:
            form.refuse(error)
    return _page(request, endpoint, status=422, key_form=form)


@require_POST
@require(Role.DEVELOPER)
def key_update(request: HttpRequest, name: str, key_id: str) -> HttpResponse:
    identity = identity_of(request)
    endpoint = selectors.endpoint_by_name(identity.workspace, name)
    row = selectors.key_by_public_id(endpoint, key_id)
    form = KeyForm(request.POST, row=row)
    if form.is_valid():
        try:
            keeping.endpoint_key_update(by=identity, key=row, changes=form.changes)
            messages.success(request, _("The key %(name)s is changed.") % {"name": form.cleaned_data["name"]})
            return redirect(_tab(name))
        except AppError as error:
            form.refuse(error)
    return _page(request, endpoint, status=422, key_form=form, key=row)


@require_POST
@require(Role.DEVELOPER)
def key_revoke(request: HttpRequest, name: str, key_id: str) -> HttpResponse:
    identity = identity_of(request)
    row = selectors.key_by_public_id(selectors.endpoint_by_name(identity.workspace, name), key_id)
    keeping.endpoint_key_revoke(by=identity, key=row)
    messages.success(request, _("The key %(name)s opens nothing any more.") % {"name": row.name})
    return redirect(_tab(name))


def _tab(name: str) -> str:
    return f"{reverse('endpoint_detail', args=[name])}?tab=keys"


def _page(request: HttpRequest, endpoint: Endpoint, *, status: int = 200, **shown: Any) -> HttpResponse:
    context = endpoint_context(request, endpoint, "keys") | shown
    return render(request, "deployments/detail.html", context, status=status)
