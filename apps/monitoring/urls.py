"""Addresses of this app's pages."""

from django.urls import URLPattern, path

from apps.monitoring import monitor, views

urlpatterns: list[URLPattern] = [
    path("settings/about", views.about, name="settings_about"),
    path("endpoints/<slug:name>/monitor", monitor.endpoint_monitor, name="endpoint_monitor"),
    path("endpoints/<slug:name>/monitor/figures", monitor.endpoint_figures, name="endpoint_figures"),
]
