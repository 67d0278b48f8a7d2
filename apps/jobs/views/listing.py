"""The list of jobs, and the refresh of those in it that still move."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import urlencode
from django.views.decorators.http import require_GET

from apps.accounts.auth import identity_of
from apps.core.pages import page_or_fragment
from apps.jobs import presenting
from apps.jobs.models import JobKind, JobStatus
from apps.jobs.selectors import choices, records

PER_PAGE = 25


@require_GET
def job_list(request: HttpRequest) -> HttpResponse:
    """Jobs of the workspace, filtered by the address."""
    by = identity_of(request)
    filters = _filters(request)
    jobs = records.job_list(workspace=by.workspace, **filters)
    page = Paginator(jobs, PER_PAGE).get_page(request.GET.get("page"))
    rows = presenting.rows_of(list(page.object_list))
    context = {
        "rows": rows,
        "page": page,
        "filters": filters,
        "filtered": any(filters.values()),
        "query": urlencode({name: value for name, value in filters.items() if value}),
        "statuses": [("active", None), *JobStatus.choices],
        "kinds": JobKind.choices,
        "moving": _moving(rows),
        "newest": rows[0].job.number if rows and page.number == 1 and not any(filters.values()) else 0,
        "slots": choices.slots_now(),
    }
    return page_or_fragment(request, "jobs/list.html", "jobs/_table.html", context)


@require_GET
def rows(request: HttpRequest) -> HttpResponse:
    """The rows named by `ids` as they are now, each to be put in its place; new jobs are counted, not pushed in."""
    by = identity_of(request)
    ids = request.GET.get("ids", "").split(",")[:PER_PAGE]
    jobs = records.job_list(workspace=by.workspace)
    found = presenting.rows_of(list(jobs.filter(public_id__in=ids)))
    newest = request.GET.get("newest", "0")
    newest = newest if newest.isdigit() and len(newest) < 10 else "0"
    newer = jobs.filter(number__gt=int(newest)).count() if newest != "0" else 0
    context = {"rows": found, "moving": _moving(found), "newest": newest, "newer": newer}
    return render(request, "jobs/_rows_answer.html", context)


def _filters(request: HttpRequest) -> dict[str, str]:
    status, kind = request.GET.get("status", ""), request.GET.get("kind", "")
    return {
        "status": status if status in {"active", *JobStatus.values} else "",
        "kind": kind if kind in JobKind.values else "",
        "dataset": request.GET.get("dataset", "")[:127],
        "model": request.GET.get("model", "")[:63],
        "search": request.GET.get("search", "").strip()[:100],
    }


def _moving(rows: list[presenting.Row]) -> str:
    return ",".join(row.job.public_id for row in rows if not JobStatus(row.job.status).is_final)
