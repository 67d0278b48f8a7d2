"""What stands on a row and so keeps it from being deleted: found by the database's relations, whichever app has them.

Knows no noun. A noun tells of itself by `__str__` and `get_absolute_url`, and its kind by its class's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Model
from django.utils.translation import gettext, gettext_noop

#: Marked for the catalog; the API says them in English, as they are ids there.
KINDS = (
    gettext_noop("job"),
    gettext_noop("dataset version"),
    gettext_noop("base model"),
    gettext_noop("model version"),
    gettext_noop("alias"),
    gettext_noop("revision"),
)


@dataclass(frozen=True)
class Use:
    """One row that refers to another; `url` is empty for what has no page."""

    kind: str
    name: str
    url: str

    @property
    def title(self) -> str:
        """The kind in the reader's language."""
        return gettext(self.kind)


def uses_of(model: type[Model], rows: Iterable[Model], *, limit: int = 50) -> list[Use]:
    """What protects these rows of `model` from deletion; the rows themselves do not count."""
    keys = [row.pk for row in rows]
    found: list[Use] = []
    for relation in model._meta.related_objects:
        if getattr(relation.on_delete, "__name__", "") != "PROTECT":
            continue
        related: type[Model] = relation.related_model
        users = related._default_manager.filter(**{f"{relation.field.name}__in": keys})
        if related is model:
            users = users.exclude(pk__in=keys)
        for row in users.order_by("-pk")[: limit - len(found)]:
            url = row.get_absolute_url() if hasattr(row, "get_absolute_url") else ""
            found.append(Use(str(related._meta.verbose_name), str(row), url))
    return found
