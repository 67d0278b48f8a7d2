"""A home of the test's own; versions of the toy task; a real agent where a test asks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.deployments import selectors, services
from apps.deployments.models import Endpoint, Revision
from apps.registry.models import ModelVersion
from apps.registry.services import model_version_publish
from tests.modelkit.serving.toys import Host, make_bundle
from tests.personas import Team

VersionMake = Callable[..., ModelVersion]


@pytest.fixture(autouse=True)
def home(settings: Any, tmp_path: Path) -> Path:
    settings.HOME = tmp_path / "home"
    settings.BUNDLES_DIR = settings.HOME / "bundles"
    settings.BUNDLES_DIR.mkdir(parents=True)
    # Port 9 (discard) is not listened on: MLflow and the broker are down, which none of this may mind.
    settings.MLFLOW_TRACKING_URI = "http://127.0.0.1:9"
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    return Path(settings.HOME)


@pytest.fixture
def version_make(home: Path) -> VersionMake:
    """Publish `name@number` of `workspace`, its bundle being in the local cache."""

    def make(
        workspace: Workspace, number: int = 1, *, name: str = "intents", task: str = "toy_words", **toy: Any
    ) -> ModelVersion:
        staging = home / "staging" / f"{workspace.name}-{name}-{number}"
        manifest = make_bundle(staging, task=task, bias=toy.pop("bias", number / 100), **toy)
        if not (home / "bundles" / manifest.digest).exists():
            staging.rename(home / "bundles" / manifest.digest)
        return model_version_publish(
            workspace=workspace,
            name=name,
            number=number,
            job_public_id="j" * 12,
            bundle_digest=manifest.digest,
            manifest=manifest.model_dump(mode="json"),
            metrics={"accuracy": 0.9},
            metrics_split="test",
            dataset_version=None,
            base_model=None,
            parent=None,
            recipe=[],
            mlflow_run_id="r" * 32,
            mlflow_version=number,
            size_bytes=manifest.size_bytes,
        )

    return make


@pytest.fixture
def endpoint(team: Team, version_make: VersionMake) -> Endpoint:
    """An endpoint whose first revision, of intents@1, is live; intents@2 is published."""
    for number in (1, 2):
        version_make(team.workspace, number)
    made = services.endpoint_create(by=team.developer.identity, name="intents", model="intents@1")
    Revision.objects.filter(endpoint=made).update(status="live", live_at=timezone.now())
    return selectors.endpoint_by_name(team.workspace, made.name)


@pytest.fixture
def host(home: Path, settings: Any) -> Iterator[Host]:
    """A running agent on the home of the test."""
    with Host(home) as running:
        settings.SERVING_URL = settings.SERVING_INTERNAL_URL = running.url
        yield running
