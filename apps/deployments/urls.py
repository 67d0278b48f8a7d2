"""Addresses of this app's pages."""

from django.urls import path

from apps.deployments import key_views, views

urlpatterns = [
    path("endpoints/", views.endpoint_list, name="endpoint_list"),
    path("endpoints/new", views.endpoint_new, name="endpoint_new"),
    path("endpoints/<slug:name>/", views.endpoint_detail, name="endpoint_detail"),
    path("endpoints/<slug:name>/status", views.endpoint_status, name="endpoint_status"),
    path("endpoints/<slug:name>/try", views.endpoint_ask, name="endpoint_try"),
    path("endpoints/<slug:name>/openapi.json", views.endpoint_openapi, name="endpoint_openapi"),
    path("endpoints/<slug:name>/traffic", views.endpoint_traffic, name="endpoint_traffic"),
    path("endpoints/<slug:name>/rollback", views.endpoint_rollback, name="endpoint_rollback"),
    path("endpoints/<slug:name>/runtime", views.endpoint_runtime, name="endpoint_runtime"),
    path("endpoints/<slug:name>/settings", views.endpoint_settings, name="endpoint_settings"),
    path("endpoints/<slug:name>/keys", key_views.key_create, name="endpoint_key_create"),
    path("endpoints/<slug:name>/keys/<slug:key_id>", key_views.key_update, name="endpoint_key_update"),
    path("endpoints/<slug:name>/keys/<slug:key_id>/revoke", key_views.key_revoke, name="endpoint_key_revoke"),
    path("endpoints/<slug:name>/stop", views.endpoint_stop, name="endpoint_stop"),
    path("endpoints/<slug:name>/start", views.endpoint_start, name="endpoint_start"),
    path("endpoints/<slug:name>/delete", views.endpoint_delete, name="endpoint_delete"),
]
