"""What each tab of a version's page shows."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.core.errors import AppError
from apps.datasets import selectors
from apps.datasets.forms import MappingForm
from apps.datasets.models import DatasetVersion, VersionStatus
from apps.datasets.presentation import FIX_TITLES, SPLIT_TITLES, check_view, files_view, status_view
from apps.datasets.row_browser import RowFilter, rows_browse, versions_diff
from modelkit import catalog
from modelkit.data.options import SPLITS

TABS = {
    "rows": gettext_lazy("Rows"),
    "statistics": gettext_lazy("Statistics"),
    "checks": gettext_lazy("Checks"),
    "mapping": gettext_lazy("Mapping"),
    "versions": gettext_lazy("Versions"),
    "used": gettext_lazy("Used by"),
}
ROWS_PER_PAGE = 50
_SORTS = {"position": gettext_lazy("File order"), "length": gettext_lazy("Length"), "label": gettext_lazy("Class")}


def tab_context(version: DatasetVersion, tab: str, query: QueryDict) -> dict[str, Any]:
    """Context of the page with `tab` open."""
    counts = {"fail": 0, "warn": 0, "pass": 0}
    for check in version.checks:
        counts[check["severity"]] += 1
    context: dict[str, Any] = {
        "version": version,
        "dataset": version.dataset,
        "status": status_view(version),
        "tabs": TABS,
        "tab": tab,
        "tab_template": f"datasets/tabs/_{tab}.html",
        "splits": [(SPLIT_TITLES[split], version.splits.get(split, 0)) for split in SPLITS],
        "check_counts": counts,
        "troubles": counts["fail"] + counts["warn"],
        "busy": version.status in (VersionStatus.UPLOADING, VersionStatus.VALIDATING),
        "ready": version.status == VersionStatus.READY,
        "files": selectors.origin_of(version).parts,
        "fixes": [FIX_TITLES.get(fix, fix) for fix in selectors.fixes_of(version)],
    }
    builders = {
        "rows": _rows,
        "statistics": _statistics,
        "checks": _checks,
        "mapping": _mapping,
        "versions": _versions,
        "used": _used,
    }
    return {**context, **builders[tab](version, query)}


def _rows(version: DatasetVersion, query: QueryDict) -> dict[str, Any]:
    if version.status != VersionStatus.READY:
        return {}
    sort = query.get("sort", "position")
    wanted = RowFilter(
        split=query.get("split", "") if query.get("split") in SPLITS else "",
        label=query.get("label", "")[:1000],
        search=query.get("search", "").strip()[:200],
        sort=sort if sort in _SORTS else "position",  # type: ignore[arg-type]
        descending=query.get("order") == "desc",
    )
    asked = query.get("page", "")
    number = max(1, int(asked)) if asked.isdecimal() and len(asked) < 9 else 1
    try:
        found = rows_browse(version, wanted, offset=(number - 1) * ROWS_PER_PAGE, limit=ROWS_PER_PAGE)
    except AppError as error:
        return {"tab_error": error}
    pages = max(1, -(-found.total // ROWS_PER_PAGE))
    kept = query.copy()
    kept["tab"] = "rows"
    kept.pop("page", None)
    return {
        "rows": found.rows,
        "total": found.total,
        "wanted": wanted,
        "sorts": _SORTS,
        "split_titles": SPLIT_TITLES,
        "page_number": number,
        "pages": pages,
        "kept": kept.urlencode(),
        "first": (number - 1) * ROWS_PER_PAGE + 1,
        "last": (number - 1) * ROWS_PER_PAGE + len(found.rows),
    }


def _statistics(version: DatasetVersion, query: QueryDict) -> dict[str, Any]:
    stats = version.stats
    classes = stats.get("classes", [])
    largest = max((row["rows"] for row in classes), default=1)
    charts = {
        "classes": {
            "kind": "bars",
            "title": _("Rows per class"),
            "unit": _("rows"),
            "categories": [row["label"] for row in classes],
            "series": [
                {"name": str(SPLIT_TITLES[split]), "role": split, "values": [row[split] for row in classes]}
                for split in SPLITS
            ],
        },
        "lengths": {
            "kind": "histogram",
            "title": _("Length of texts"),
            "unit": _("rows"),
            "axis": _("characters"),
            "bins": (stats.get("lengths") or {}).get("histogram", []),
            "marks": [
                {"name": _("half"), "value": (stats.get("lengths") or {}).get("p50", 0)},
                {"name": "95 %", "value": (stats.get("lengths") or {}).get("p95", 0)},
            ],
        },
    }
    return {"classes": classes, "lengths": stats.get("lengths"), "largest": largest, "charts": charts}


def _checks(version: DatasetVersion, query: QueryDict) -> dict[str, Any]:
    return {"checks": [check_view(check) for check in version.checks]}


def _mapping(version: DatasetVersion, query: QueryDict) -> dict[str, Any]:
    task = catalog.tasks().get(version.dataset.task)
    titles = {column.role: _(column.title) for column in task.columns} if task else {}
    return {
        "form": MappingForm(version),
        "found_files": files_view(version),
        "columns": version.detected.get("columns", []),
        "roles": {column: titles.get(role, role) for role, column in version.mapping.items()},
    }


def _versions(version: DatasetVersion, query: QueryDict) -> dict[str, Any]:
    versions = list(selectors.versions_of(version.dataset))
    against = None
    if version.status == VersionStatus.READY:
        earlier = [v for v in versions if v.status == VersionStatus.READY and v.pk != version.pk]
        asked = query.get("against", "")
        against = next((v for v in earlier if str(v.number) == asked), None)
        if against is None:
            before = [v for v in earlier if v.number < version.number]
            against = next((v for v in before if version.parent_id == v.pk), before[0] if before else None)
    error, diff = None, None
    try:
        diff = versions_diff(against, version) if against else None
    except AppError as refusal:
        error = refusal
    return {
        "tab_error": error,
        "versions": [(item, status_view(item), [FIX_TITLES.get(fix, fix) for fix in item.fixes]) for item in versions],
        "against": against,
        "diff": diff,
        "changes": {"added": _("Added"), "removed": _("Removed"), "relabelled": _("Class changed")},
    }


def _used(version: DatasetVersion, query: QueryDict) -> dict[str, Any]:
    return {"users": selectors.version_users([version]), "transitions": version.transitions.select_related("actor")}
