"""Addresses of this app's pages."""

from django.urls import path

from apps.deployments import key_views, traffic_views, views

urlpatterns = [
    path("endpoints/", views.endpoint_list, name="endpoint_list"),
    path("endpoints/new", views.endpoint_new, name="endpoint_new"),
    path("endpoints/<slug:name>/", views.endpoint_detail, name="endpoint_detail"),
    path("endpoints/<slug:name>/status", views.endpoint_status, name="endpoint_status"),
    path("endpoints/<slug:name>/try", views.endpoint_ask, name="endpoint_try"),
    path("endpoints/<slug:name>/openapi.json", views.endpoint_openapi, name="endpoint_openapi"),
    path("endpoints/<slug:name>/traffic", views.endpoint_traffic, name="endpoint_traffic"),
    path("endpoints/<slug:name>/canary", traffic_views.canary_start, name="canary_start"),
    path("endpoints/<slug:name>/canary/pause", traffic_views.canary_pause, name="canary_pause"),
    path("endpoints/<slug:name>/canary/resume", traffic_views.canary_resume, name="canary_resume"),
    path("endpoints/<slug:name>/canary/promote", traffic_views.canary_promote, name="canary_promote"),
    path("endpoints/<slug:name>/canary/abort", traffic_views.canary_abort, name="canary_abort"),
    path("endpoints/<slug:name>/shadow", traffic_views.shadow_set, name="shadow_set"),
    path("endpoints/<slug:name>/shadow/end", traffic_views.shadow_end, name="shadow_end"),
    path("endpoints/<slug:name>/rollback", views.endpoint_rollback, name="endpoint_rollback"),
    path("endpoints/<slug:name>/runtime", views.endpoint_runtime, name="endpoint_runtime"),
    path("endpoints/<slug:name>/settings", views.endpoint_settings, name="endpoint_settings"),
    path("endpoints/<slug:name>/keys", key_views.key_create, name="endpoint_key_create"),
    path("endpoints/<slug:name>/keys/<slug:key_id>", key_views.key_update, name="endpoint_key_update"),
    path("endpoints/<slug:name>/keys/<slug:key_id>/revoke", key_views.key_revoke, name="endpoint_key_revoke"),
    path("endpoints/<slug:name>/request-log", views.endpoint_sampling, name="endpoint_sampling"),
    path("endpoints/<slug:name>/stop", views.endpoint_stop, name="endpoint_stop"),
    path("endpoints/<slug:name>/start", views.endpoint_start, name="endpoint_start"),
    path("endpoints/<slug:name>/delete", views.endpoint_delete, name="endpoint_delete"),
]
