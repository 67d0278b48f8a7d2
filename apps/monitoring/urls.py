"""Addresses of this app's pages."""

from django.urls import URLPattern, path

from apps.monitoring import monitor, request_views, views

urlpatterns: list[URLPattern] = [
    path("settings/about", views.about, name="settings_about"),
    path("endpoints/<slug:name>/monitor", monitor.endpoint_monitor, name="endpoint_monitor"),
    path("endpoints/<slug:name>/monitor/figures", monitor.endpoint_figures, name="endpoint_figures"),
    path("endpoints/<slug:name>/requests", request_views.endpoint_requests, name="endpoint_requests"),
    path("endpoints/<slug:name>/feedback", request_views.endpoint_feedback, name="endpoint_feedback"),
    path("endpoints/<slug:name>/corrections", request_views.endpoint_corrections, name="endpoint_corrections"),
    path(
        "endpoints/<slug:name>/corrections/dataset",
        request_views.endpoint_corrections_publish,
        name="endpoint_corrections_publish",
    ),
]
