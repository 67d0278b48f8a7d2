"""What stands on a row is named in the reader's language, with its address; audit rows lead to their things."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db.models import PROTECT
from django.urls import resolve

from apps.accounts.models import AuditEntry
from apps.core.uses import KINDS, uses_of
from apps.datasets.models import DatasetVersion
from apps.registry.models import ModelVersion
from tests.api.world import world_make
from tests.personas import Team


@pytest.mark.parametrize("label", ["datasets.DatasetVersion", "registry.ModelVersion", "registry.BaseModel"])
def test_every_kind_that_protects_one_is_in_the_catalog(label: str) -> None:
    protecting = [
        relation.related_model._meta.verbose_name
        for relation in apps.get_model(label)._meta.related_objects
        if relation.on_delete is PROTECT
    ]
    assert protecting
    assert set(map(str, protecting)) <= set(KINDS)


def test_every_use_has_a_page_that_exists(team: Team) -> None:
    world_make(team)
    browser = team.viewer.browser()
    found = [
        *uses_of(DatasetVersion, DatasetVersion.objects.filter(dataset__workspace=team.workspace)),
        *uses_of(ModelVersion, ModelVersion.objects.filter(model__workspace=team.workspace)),
    ]
    assert {use.kind for use in found} >= {"job", "model version", "revision"}
    for use in found:
        assert browser.get(use.url).status_code == 200, use


@pytest.mark.parametrize(
    ("action", "target", "page"),
    [
        ("job.create", "#4", "job_detail"),
        ("dataset.create", "tickets", "dataset_detail"),
        ("dataset.upload", "tickets@1", "dataset_version"),
        ("model.publish", "intents@2", "model_version"),
        ("alias.set", "intents@champion", "model_detail"),
        ("endpoint.update", "intents", "endpoint_detail"),
    ],
)
def test_an_audit_row_leads_to_its_thing(action: str, target: str, page: str) -> None:
    row = AuditEntry(action=action, target=target, details={"id": "abcdefghijkl"})
    assert resolve(row.href).url_name == page


@pytest.mark.parametrize(
    ("action", "target"),
    [("endpoint.delete", "intents"), ("member.add", "lena"), ("token.create", "ci (ty_…)"), ("job.create", "#4")],
)
def test_what_is_gone_or_has_no_page_is_no_link(action: str, target: str) -> None:
    assert AuditEntry(action=action, target=target).href == ""
