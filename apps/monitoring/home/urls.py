"""Addresses of the home page and the search."""

from django.urls import path

from apps.monitoring.home import views

urlpatterns = [
    path("", views.home, name="home"),
    path("home/live", views.live, name="home_live"),
    path("home/health", views.health_line, name="home_health"),
    path("home/hide-start", views.hide_start, name="home_hide_start"),
    path("search", views.search_page, name="search"),
]
