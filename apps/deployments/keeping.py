"""Changes to the keys of an endpoint. The serving port knows each within a fraction of a second after it committed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.auth import TOKEN_PREFIX, Identity, token_hash
from apps.accounts.models import Role
from apps.accounts.services import audit_record
from apps.core.errors import Conflict, Invalid
from apps.deployments.keys import keys_changed
from apps.deployments.models import Endpoint, EndpointKey

MAX_KEY_DAYS = 3650
#: The largest value of each limit; the smallest is 1, and empty is none.
MAX_LIMITS = {"rate_per_minute": 10_000_000, "burst": 10_000_000, "quota_per_day": 1_000_000_000_000}


def endpoint_key_create(
    *,
    by: Identity,
    endpoint: Endpoint,
    name: str,
    expires_in_days: int | None = None,
    limits: Mapping[str, int | None] | None = None,
) -> tuple[EndpointKey, str]:
    """Make a key that may ask this endpoint only; returns the row and the key, which is never shown again.

    Raises Invalid naming each field that cannot be.
    """
    by.require(Role.DEVELOPER)
    fields = _name_fields(name) | _day_fields(expires_in_days) | _limit_fields(limits or {})
    if fields:
        raise Invalid(_("The key cannot be made so."), fields=fields, hint=_("Correct the named fields."))
    plain = f"{TOKEN_PREFIX}{secrets.token_urlsafe(32)}"
    with transaction.atomic():
        row = EndpointKey.objects.create(
            endpoint=endpoint,
            created_by=by.user,
            name=name.strip(),
            sha256=token_hash(plain),
            prefix=plain[:10],
            expires_at=_end(expires_in_days),
            **(limits or {}),
        )
        details = {"key": str(row), "expires_in_days": expires_in_days, **(limits or {})}
        audit_record(by=by, action="endpoint.key_create", target=endpoint.name, details=details)
        keys_changed()
    return row, plain


def endpoint_key_update(*, by: Identity, key: EndpointKey, changes: Mapping[str, Any]) -> EndpointKey:
    """Change `name`, `expires_in_days` (from now; None: never) or limits of a key; what is left out stays.

    Raises Invalid naming each field that cannot be, Conflict for a revoked key.
    """
    by.require(Role.DEVELOPER)
    fields = _name_fields(changes["name"]) if "name" in changes else {}
    fields |= _day_fields(changes.get("expires_in_days"))
    fields |= _limit_fields({name: changes[name] for name in MAX_LIMITS if name in changes})
    if fields:
        raise Invalid(_("The key cannot be changed so."), fields=fields, hint=_("Correct the named fields."))
    values = {name: changes[name] for name in ("name", *MAX_LIMITS) if name in changes}
    if "expires_in_days" in changes:
        values["expires_at"] = _end(changes["expires_in_days"])
    with transaction.atomic():
        if values and not EndpointKey.objects.filter(pk=key.pk, revoked_at=None).update(**values):
            raise Conflict(_("The key is revoked."), code="key_revoked", hint=_("Make another one."))
        if values:
            details = {"key": str(key), **changes}
            audit_record(by=by, action="endpoint.key_update", target=key.endpoint.name, details=details)
            keys_changed()
    key.refresh_from_db()
    return key


def endpoint_key_revoke(*, by: Identity, key: EndpointKey) -> EndpointKey:
    """End a key for good; ending it twice is fine."""
    by.require(Role.DEVELOPER)
    with transaction.atomic():
        if EndpointKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
            audit_record(by=by, action="endpoint.key_revoke", target=key.endpoint.name, details={"key": str(key)})
            keys_changed()
    key.refresh_from_db()
    return key


def _end(days: int | None) -> Any:
    return timezone.now() + timedelta(days=days) if days is not None else None


def _name_fields(name: str) -> dict[str, str]:
    return {} if name.strip() and len(name) <= 100 else {"name": _("Use 1 to 100 characters.")}


def _day_fields(days: int | None) -> dict[str, str]:
    if days is None or 1 <= days <= MAX_KEY_DAYS:
        return {}
    return {"expires_in_days": _("Choose 1 to %(days)d days, or none.") % {"days": MAX_KEY_DAYS}}


def _limit_fields(limits: Mapping[str, int | None]) -> dict[str, str]:
    fields = {}
    for name, value in limits.items():
        if value is not None and not 1 <= value <= MAX_LIMITS[name]:
            bounds = {"low": "1", "high": f"{MAX_LIMITS[name]:,}"}
            fields[name] = _("Give a whole number from %(low)s to %(high)s.") % bounds
    return fields
