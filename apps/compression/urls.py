"""Addresses of this app's pages."""

from django.urls import URLPattern, path

from apps.compression import views

urlpatterns: list[URLPattern] = [
    path("compress/", views.page, name="compression"),
    path("compress/review", views.review, name="compression_review"),
    path("compress/start", views.start, name="compression_start"),
]
