"""Which keys the serving port accepts: the hashes of valid API tokens, and short-lived keys for our own pages."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable

from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from apps.accounts.auth import TOKEN_PREFIX, token_hash
from apps.accounts.models import ApiToken, Membership, Workspace
from modelkit.serving.plan import AccessKey

#: A page's key is valid within its slot of time and a little longer.
_SLOT_S = 3600
_GRACE_S = 300


def access_keys(workspaces: Iterable[Workspace]) -> tuple[AccessKey, ...]:
    """Every key that is valid now; those of pages only for `workspaces`. Sorted, so that equal sets are equal files."""
    member = Membership.objects.filter(workspace=OuterRef("workspace"), user=OuterRef("user"))
    tokens = (
        ApiToken.objects.filter(Exists(member), revoked_at=None, user__is_active=True)
        .filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
        .select_related("workspace")
    )
    keys = [
        AccessKey(
            sha256=token.sha256,
            workspace=token.workspace.public_id,
            expires_at=token.expires_at.timestamp() if token.expires_at else None,
        )
        for token in tokens
    ]
    slot = int(time.time()) // _SLOT_S
    # The next slot's too, so that a page works on although the set is renewed late.
    keys += [_page_key(workspace, number) for workspace in workspaces for number in (slot, slot + 1)]
    return tuple(sorted(keys, key=lambda key: key.sha256))


def page_token(workspace: Workspace) -> str:
    """The key with which our own pages call the serving port for a signed-in member of `workspace`.

    Derived from the installation's secret and the hour, so that it needs no storage and ends by itself; a browser
    never sees it.
    """
    return _token(workspace, int(time.time()) // _SLOT_S)


def _page_key(workspace: Workspace, slot: int) -> AccessKey:
    expires_at = float((slot + 1) * _SLOT_S + _GRACE_S)
    return AccessKey(sha256=token_hash(_token(workspace, slot)), workspace=workspace.public_id, expires_at=expires_at)


def _token(workspace: Workspace, slot: int) -> str:
    message = f"serving.try-it:{workspace.public_id}:{slot}".encode()
    digest = hmac.new(settings.SECRET_KEY.encode(), message, hashlib.sha256).digest()
    return TOKEN_PREFIX + base64.urlsafe_b64encode(digest).decode().rstrip("=")
