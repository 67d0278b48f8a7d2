"""Addresses of this app's pages."""

from django.urls import URLPattern, path

from apps.registry import base_model_views, views

urlpatterns: list[URLPattern] = [
    path("base-models/", base_model_views.base_model_list, name="base_model_list"),
    path("base-models/import", base_model_views.base_model_import, name="base_model_import"),
    path("base-models/<slug:name>/", base_model_views.base_model_detail, name="base_model_detail"),
    path("base-models/<slug:name>/retry", base_model_views.base_model_retry, name="base_model_retry"),
    path("base-models/<slug:name>/delete", base_model_views.base_model_delete, name="base_model_delete"),
    path("models/", views.model_list, name="model_list"),
    path("models/<slug:name>/", views.model_detail, name="model_detail"),
    path("models/<slug:name>/figures", views.model_figures, name="model_figures"),
    path("models/<slug:name>/alias", views.alias_set, name="model_alias"),
    path("models/<slug:name>/delete", views.model_delete, name="model_delete"),
    path("models/<slug:name>/<int:number>/", views.model_version, name="model_version"),
    path("models/<slug:name>/<int:number>/download", views.version_download, name="version_download"),
    path("models/<slug:name>/<int:number>/delete", views.version_delete, name="version_delete"),
    path("models/<slug:name>/<int:number>/figures", views.version_figures, name="version_figures"),
    path("models/<slug:name>/<int:number>/<slug:tab>", views.model_version, name="model_version_tab"),
]
