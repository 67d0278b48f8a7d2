"""Addresses of this app's pages. `-` is no dataset's name, so that the fixed addresses hide none."""

from django.urls import path, register_converter

from apps.datasets import views


class NameConverter:
    """A dataset's name."""

    regex = "[a-z0-9][a-z0-9-]{0,62}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class NumberConverter:
    """A version's number, within what the database counts."""

    regex = "[1-9][0-9]{0,8}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


register_converter(NameConverter, "dataset_name")
register_converter(NumberConverter, "version_number")

urlpatterns = [
    path("datasets/", views.dataset_list, name="dataset_list"),
    path("datasets/-/new/", views.dataset_new, name="dataset_new"),
    path("datasets/-/sample/", views.dataset_sample, name="dataset_sample"),
    path("datasets/<dataset_name:name>/", views.dataset_detail, name="dataset_detail"),
    path("datasets/<dataset_name:name>/upload/", views.version_upload, name="version_upload"),
    path("datasets/<dataset_name:name>/delete/", views.dataset_delete, name="dataset_delete"),
    path("datasets/<dataset_name:name>/<version_number:number>/", views.version_page, name="dataset_version"),
    path("datasets/<dataset_name:name>/<version_number:number>/status/", views.version_status, name="version_status"),
    path(
        "datasets/<dataset_name:name>/<version_number:number>/mapping/", views.version_mapping, name="version_mapping"
    ),
    path("datasets/<dataset_name:name>/<version_number:number>/fix/", views.version_fix, name="version_fix"),
    path(
        "datasets/<dataset_name:name>/<version_number:number>/download/",
        views.version_download,
        name="dataset_version_download",
    ),
]
