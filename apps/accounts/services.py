"""Changes to users, workspaces, memberships and tokens; and the audit record of every change anywhere."""

from __future__ import annotations

from typing import Any

from apps.accounts.auth import Identity
from apps.accounts.models import AuditEntry


def audit_record(*, by: Identity, action: str, target: str, details: dict[str, Any] | None = None) -> AuditEntry:
    """Write down a change; call it in the transaction that makes the change."""
    return AuditEntry.objects.create(
        workspace=by.workspace,
        actor=by.user,
        token=by.token,
        action=action,
        target=target,
        details=details or {},
        request_id=by.request_id,
    )
