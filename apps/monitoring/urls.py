"""Addresses of this app's pages."""

from django.urls import URLPattern, path

from apps.monitoring import views

urlpatterns: list[URLPattern] = [path("settings/about", views.about, name="settings_about")]
