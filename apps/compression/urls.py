"""Addresses of this app's pages."""

from django.urls import URLPattern, path

from apps.compression import views

urlpatterns: list[URLPattern] = [
    path("compress/", views.compression, name="compression"),
    path("compress/<str:reference>/scatter", views.scatter, name="compression_scatter"),
]
