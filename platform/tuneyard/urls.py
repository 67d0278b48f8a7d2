"""Every address of the web: pages by app, the API, sign-in."""

from django.urls import include, path

from tuneyard.api import api

urlpatterns = [
    path("", include("apps.monitoring.home.urls")),
    path("", include("apps.accounts.urls")),
    path("", include("apps.datasets.urls")),
    path("", include("apps.registry.urls")),
    path("", include("apps.jobs.urls")),
    path("", include("apps.compression.urls")),
    path("", include("apps.deployments.urls")),
    path("", include("apps.monitoring.urls")),
    path("api/v1/", api.urls),
]

handler400 = "apps.core.error_pages.bad_request"
handler403 = "apps.core.error_pages.permission_denied"
handler404 = "apps.core.error_pages.page_not_found"
handler500 = "apps.core.error_pages.server_error"
