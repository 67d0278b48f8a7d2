"""Every address of the web: pages by app, the API, allauth."""

from django.urls import include, path

from tuneyard.api import api

urlpatterns = [
    path("", include("apps.core.urls")),
    path("", include("apps.accounts.urls")),
    path("", include("apps.datasets.urls")),
    path("", include("apps.registry.urls")),
    path("", include("apps.jobs.urls")),
    path("", include("apps.compression.urls")),
    path("", include("apps.deployments.urls")),
    path("accounts/", include("allauth.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("api/v1/", api.urls),
]
