"""Shadows: a revision that gets copies of the traffic, and where it would have answered otherwise.

The front compares; its files are taken in by `batches_take`, each once, however often that is killed.
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.auth import Identity
from apps.accounts.models import Role
from apps.accounts.services import audit_record
from apps.core.errors import Conflict, Invalid
from apps.deployments.changing import (
    desired_changed,
    endpoint_lock,
    model_or_revision_fields,
    revision_add,
    revision_name_check,
    revision_named,
    revision_refused,
    revision_revive,
    timeline_note,
    version_for,
)
from apps.deployments.models import Endpoint, Revision, ShadowBatch, ShadowCount, ShadowDifference, ShadowSummary
from apps.deployments.selectors import endpoint_by_name, shadow_of
from apps.registry.models import ModelVersion

logger = logging.getLogger(__name__)

#: Differences kept of each pair of revisions, and for how long.
KEEP_DIFFERENCES = 1000
KEEP_DAYS = 30
_REMEMBER = timedelta(days=1)


def shadow_set(
    *,
    by: Identity,
    endpoint: Endpoint,
    model: str = "",
    revision: int | None = None,
    name: str = "",
    percent: int = 100,
    keep_inputs: bool = True,
) -> Endpoint:
    """Copy a share of the traffic to a version, or to a revision that is there; it takes the place of another shadow.

    Raises Invalid naming what cannot be, Conflict where the endpoint is stopped.
    """
    by.require(Role.DEVELOPER)
    fields = model_or_revision_fields(model, revision)
    if not 1 <= percent <= 100:
        fields["percent"] = _("The copied share lies between 1 and 100 percent.")
    if fields:
        raise Invalid(_("The shadow cannot be set so."), fields=fields, hint=_("Correct the named fields."))
    revision_name_check(name)
    version = version_for(endpoint, model) if model else None
    with transaction.atomic():
        locked = endpoint_lock(endpoint)
        if not locked.running:
            message = _("%(name)s is stopped.") % {"name": locked.name}
            raise Conflict(message, code="endpoint_stopped", hint=_("Start it first."))
        if version is not None:
            chosen = _shadow_with(locked, version) or revision_add(locked, version, by.user, weight=0, name=name)
        else:
            assert revision is not None  # noqa: S101  one of the two is given
            chosen = _without_traffic(locked, revision)
        Revision.objects.filter(endpoint=locked, shadow__gt=0).exclude(pk=chosen.pk).update(shadow=0)
        Revision.objects.filter(pk=chosen.pk).update(shadow=percent)
        Endpoint.objects.filter(pk=locked.pk).update(shadow_inputs=keep_inputs)
        revision_revive(chosen, by.user)
        details = {"percent": percent, "keep_inputs": keep_inputs}
        timeline_note(locked, "shadow", by.user, chosen, details=details)
        audit = {"revision": chosen.number, "model": chosen.model_version.ref, **details}
        audit_record(by=by, action="endpoint.shadow_set", target=locked.name, details=audit)
        desired_changed()
    return endpoint_by_name(endpoint.workspace, endpoint.name)


def shadow_end(*, by: Identity, endpoint: Endpoint) -> Endpoint:
    """Copy nothing any more; what was compared stays. Without a shadow nothing changes."""
    by.require(Role.DEVELOPER)
    with transaction.atomic():
        locked = endpoint_lock(endpoint)
        shadow = shadow_of(locked)
        if shadow is not None:
            Revision.objects.filter(endpoint=locked, shadow__gt=0).update(shadow=0)
            timeline_note(locked, "shadow_end", by.user, shadow)
            audit_record(by=by, action="endpoint.shadow_end", target=locked.name, details={"revision": shadow.number})
            desired_changed()
    return endpoint_by_name(endpoint.workspace, endpoint.name)


def _shadow_with(endpoint: Endpoint, version: ModelVersion) -> Revision | None:
    """The shadow, if it is of this version already."""
    present = shadow_of(endpoint)
    return present if present is not None and present.model_version_id == version.pk else None


def _without_traffic(endpoint: Endpoint, number: int) -> Revision:
    found = revision_named(endpoint, number)
    if found.weight:
        raise revision_refused(_("Revision %(number)s has traffic of its own.") % {"number": number})
    return found


# --- what the front compared ----------------------------------------------------------------------------------------


def batches_take(folder: Path) -> int:
    """Take in the files of the front, oldest first; returns how many."""
    taken = 0
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            pairs = orjson.loads(path.read_bytes())["pairs"]
            with transaction.atomic():
                # Known already: the last taker died before it removed the file.
                if ShadowBatch.objects.get_or_create(name=path.name)[1]:
                    for pair in pairs:
                        _take(pair)
                    taken += 1
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError):
            # It would hold up all that come after it.
            logger.exception("%s is no file of the front and is removed.", path.name)
        path.unlink(missing_ok=True)
    if taken:
        _forget()
    return taken


def _take(pair: dict[str, Any]) -> None:
    endpoint = Endpoint.objects.filter(workspace__public_id=pair["workspace"], name=pair["name"]).first()
    if endpoint is None:
        return
    numbers = {"champion": pair["champion"], "challenger": pair["challenger"]}
    known = Revision.objects.filter(endpoint=endpoint, number__in=numbers.values()).count()
    if known < len(numbers):
        # Of an endpoint of this name that was deleted.
        return
    summary, _made = ShadowSummary.objects.get_or_create(endpoint=endpoint, **numbers)
    names = ("sent", "dropped", "failed", "compared", "agreed")
    ShadowSummary.objects.filter(pk=summary.pk).update(
        last_at=timezone.now(), **{name: F(name) + pair[name] for name in names}
    )
    # The row of the summary is held since it was written, so whoever takes in another file adds to these after us.
    _count_labels(summary, pair["labels"])
    ShadowDifference.objects.bulk_create(_difference(summary, example) for example in pair["examples"])
    oldest = summary.differences.order_by("-pk").values_list("pk", flat=True)[KEEP_DIFFERENCES : KEEP_DIFFERENCES + 1]
    for pk in oldest:
        summary.differences.filter(pk__lte=pk).delete()


def _count_labels(summary: ShadowSummary, counted: list[tuple[str, str, int]]) -> None:
    """Add to the rows in one statement: a pair of models may have thousands of pairs of labels."""
    new: Counter[tuple[str, str]] = Counter()
    for champion, challenger, count in counted:
        new[champion[:200], challenger[:200]] += count
    for row in summary.counts.all():
        labels = row.champion_label, row.challenger_label
        if labels in new:
            new[labels] += row.count
    ShadowCount.objects.bulk_create(
        [
            ShadowCount(summary=summary, champion_label=champion, challenger_label=challenger, count=count)
            for (champion, challenger), count in new.items()
        ],
        batch_size=500,
        update_conflicts=True,
        unique_fields=["summary", "champion_label", "challenger_label"],
        update_fields=["count"],
    )


def _difference(summary: ShadowSummary, example: dict[str, Any]) -> ShadowDifference:
    text = example["input"]
    return ShadowDifference(
        summary=summary,
        at=datetime.fromtimestamp(example["at"], UTC),
        request_id=example["request_id"],
        # PostgreSQL refuses NUL.
        input=(text or "").replace("\x00", "\ufffd"),
        champion_label=example["champion"]["label"][:200],
        champion_score=example["champion"]["score"],
        challenger_label=example["challenger"]["label"][:200],
        challenger_score=example["challenger"]["score"],
    )


def _forget() -> None:
    now = timezone.now()
    ShadowBatch.objects.filter(taken_at__lt=now - _REMEMBER).delete()
    ShadowDifference.objects.filter(at__lt=now - timedelta(days=KEEP_DAYS)).delete()
