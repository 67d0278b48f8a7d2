"""Pages of monitoring: what this installation is, and which of its parts answer."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from apps.accounts.auth import require
from apps.accounts.models import Role
from apps.core.pages import page_or_fragment
from apps.jobs.models import WorkerProcess
from apps.monitoring.health import health

#: Component, its title, and what its being down means.
_PARTS = (
    ("database", _("Database"), _("Nothing can be read or written. See the log of the web process.")),
    ("redis", _("Redis"), _("New work waits; nothing is lost, a sweep finds it once Redis answers.")),
    ("mlflow", _("MLflow"), _("Runs cannot be opened and publishing waits; training and serving go on.")),
    ("workers", _("Workers"), _("A queue has no worker: what is queued there waits.")),
    ("serving", _("Serving"), _("Endpoints do not answer. See the log of the serving agent.")),
)


@require(Role.VIEWER)
@require_GET
def about(request: HttpRequest) -> HttpResponse:
    """Version, addresses and health; the health part refreshes by itself while it is looked at."""
    found = health()
    parts = [
        {"name": name, "title": title, "state": found.components[name], "meaning": meaning}
        for name, title, meaning in _PARTS
    ]
    context = {
        "tab": "about",
        "parts": parts,
        "status": found.status,
        "version": _version(),
        "database": connection.vendor,
        "mlflow_url": settings.MLFLOW_TRACKING_URI,
        "workers": WorkerProcess.objects.order_by("queue", "name"),
    }
    return page_or_fragment(request, "settings/about.html", "settings/_health.html", context)


def _version() -> str:
    try:
        return version("tuneyard")
    except PackageNotFoundError:
        return "0.1.0"
