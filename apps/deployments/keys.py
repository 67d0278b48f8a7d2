"""Which keys the serving port accepts: hashes of API tokens and endpoints' keys, short-lived keys for our own pages.

They are written straight to the front's file once a change has committed, by whoever made it: revocation waits for no
queue. The task that applies endpoints repeats it, for a process that died between the two.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import time
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.accounts.auth import TOKEN_PREFIX, token_hash
from apps.accounts.models import ApiToken, Workspace
from apps.accounts.selectors import usable_tokens
from apps.deployments.backend import serving_backend
from apps.deployments.models import EndpointKey
from modelkit.serving.plan import AccessKey, KeySet

logger = logging.getLogger(__name__)

#: A page's key is valid within its slot of time and a little longer.
_SLOT_S = 3600
_GRACE_S = 300
#: How far a row's last use may be behind what the serving port reported.
_LAST_USE_STEP = timedelta(minutes=1)
_DAY_S = 86_400


def keys_changed() -> None:
    """Let the serving port know once the transaction has committed."""
    transaction.on_commit(keys_push, robust=True)


def keys_push() -> None:
    """Write every key that is valid now. A disk that refuses is logged: the repetition within seconds writes it."""
    backend = serving_backend()
    try:
        # Read and written under one lock, so that an older reading cannot overwrite a newer one.
        with backend.exclusive("keys"):
            backend.apply_keys(KeySet(keys=access_keys()))
    except OSError:
        logger.exception("The keys could not be written for the serving port.")


def keys_note_use() -> None:
    """Bring what the serving port counted into the rows: when each key and token was used last, and how much today."""
    usage = serving_backend().key_usage()
    for row in EndpointKey.objects.filter(public_id__in=usage):
        told = usage[row.public_id]
        used_on = datetime.fromtimestamp(told.day * _DAY_S, UTC).date()
        last_used_at = datetime.fromtimestamp(told.last_used, UTC)
        if (row.used_today, row.used_on, row.last_used_at) != (told.used, used_on, last_used_at):
            EndpointKey.objects.filter(pk=row.pk).update(
                used_today=told.used, used_on=used_on, last_used_at=last_used_at
            )
    for token in ApiToken.objects.filter(public_id__in=usage):
        last_used_at = datetime.fromtimestamp(usage[token.public_id].last_used, UTC)
        if token.last_used_at is None or last_used_at - token.last_used_at > _LAST_USE_STEP:
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=last_used_at)


def access_keys() -> tuple[AccessKey, ...]:
    """Every key that is valid now. Sorted, so that equal sets are equal files."""
    keys = [
        AccessKey(
            sha256=token.sha256,
            workspace=token.workspace.public_id,
            expires_at=token.expires_at.timestamp() if token.expires_at else None,
            id=token.public_id,
        )
        for token in usable_tokens().select_related("workspace")
    ]
    own = EndpointKey.objects.filter(revoked_at=None).filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    keys += [
        AccessKey(
            sha256=row.sha256,
            workspace=row.endpoint.workspace.public_id,
            expires_at=row.expires_at.timestamp() if row.expires_at else None,
            id=row.public_id,
            endpoint=row.endpoint.name,
            rate_per_minute=row.rate_per_minute,
            burst=row.burst,
            quota_per_day=row.quota_per_day,
        )
        for row in own.select_related("endpoint__workspace")
    ]
    slot = int(time.time()) // _SLOT_S
    # The next slot's too, so that a page works on although the set is renewed late.
    keys += [_page_key(workspace, number) for workspace in Workspace.objects.all() for number in (slot, slot + 1)]
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
