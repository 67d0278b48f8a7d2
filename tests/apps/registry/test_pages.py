"""Pages of the registry as a browser without script sees them, MLflow being down."""

from __future__ import annotations

from typing import Any

import pytest

from apps.registry import views
from apps.registry.models import Alias, BaseModel, ModelVersion
from tests.apps.registry.factory import dataset_make, version_make
from tests.personas import Team


@pytest.fixture(autouse=True)
def _mlflow_down(settings: Any) -> None:
    settings.MLFLOW_TRACKING_URI = "http://127.0.0.1:9"


@pytest.fixture
def family(team: Team) -> tuple[ModelVersion, ModelVersion]:
    """A version and its compressed variant."""
    data = dataset_make(team.workspace)
    parent = version_make(team.workspace, dataset_version=data)
    return parent, version_make(team.workspace, number=2, parent=parent, dataset_version=data, accuracy=0.918)


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    return " ".join(answer.content.decode().split())


@pytest.mark.parametrize("tab", views.TABS)
def test_every_tab_stands_for_a_viewer(team: Team, family: Any, tab: str) -> None:
    client = team.viewer.browser()
    for number in (1, 2):
        assert "intents@" in text(client.get(f"/models/intents/{number}/{tab}"))
    assert client.get("/models/intents/1/nonsense").status_code == 404


def test_the_card_is_made_of_recorded_facts(team: Team, family: Any) -> None:
    page = text(team.viewer.browser().get("/models/intents/1/"))
    assert "Trained on 480 rows of tickets@1" in page
    assert "92.0 %" in page
    # 0.92, 0.82 and 0.72: only the last class is below 0.8.
    assert "<code>top_up</code> (F1 72.0 %)" in page
    assert "<code>refund</code> (F1" not in page
    assert "into 3 classes" in page


def test_the_origin_that_a_bundle_records_is_read_line_by_line(team: Team, family: Any) -> None:
    version = family[0]
    version.manifest["lineage"] = {"params": {"seed": 7, "epochs": 3}, "parent": None, "code_version": "1.2"}
    version.save()
    page = text(team.viewer.browser().get("/models/intents/1/lineage"))
    assert "seed: 7<br>epochs: 3" in page
    assert "<code>code_version</code>" in page
    assert "<code>parent</code>" not in page


def test_what_a_compression_measured_is_told_in_words_and_units(team: Team, family: Any) -> None:
    variant = family[1]
    variant.metrics = variant.metrics | {"graph_bytes": 23_147_865.0, "p50_ms": 28.5, "agreement": 1.0}
    variant.save()
    page = text(team.viewer.browser().get("/models/intents/2/card"))
    for told in ("Graph", "23.1 MB", "28.5 ms", "Agreement", "100.0 %"):
        assert told in page
    assert "graph_bytes" not in page
    parent = family[0]
    parent.metrics = parent.metrics | {"graph_bytes": 90_147_865.0, "p50_ms": 30.0}
    parent.save()
    page = text(team.viewer.browser().get("/models/intents/2/card"))
    for difference in ("−74.3 %", "−5.0 %"):
        assert difference in page


def test_variants_stand_beside_their_parent(team: Team, family: Any) -> None:
    page = text(team.viewer.browser().get("/models/intents/1/variants"))
    assert "−0.2 pp" in page
    assert "−75.0 %" in page
    assert "−62.5 %" in page
    figure = team.viewer.browser().get("/models/intents/1/figures").json()["figures"]["variants"]
    assert {item["role"] for item in figure["series"]} == {"baseline", "variant"}
    assert figure["front"] == [[3.0, 91.8], [8.0, 92.0]]


def test_a_variant_that_is_slower_and_worse_is_marked(team: Team, family: Any) -> None:
    variant = family[1]
    variant.report["score"]["variant"] |= {"p95_ms": 9.0}
    variant.save()
    figure = team.viewer.browser().get("/models/intents/1/figures").json()["figures"]["variants"]
    assert "worse" in {item["role"] for item in figure["series"]}


def test_a_diff_shows_the_change_by_class(team: Team, family: Any) -> None:
    page = text(team.viewer.browser().get("/models/intents/2/diff?with=1"))
    assert "−0.2 pp" in page
    assert team.viewer.browser().get("/models/intents/2/diff?with=9").status_code == 404


def test_the_history_of_the_metric(team: Team, family: Any) -> None:
    figure = team.viewer.browser().get("/models/intents/figures").json()["figures"]["history"]
    assert figure["series"][0]["points"] == [[1, 92.0], [2, 91.8]]
    assert figure["references"] == [{"label": "champion", "value": 92.0}]


def test_promoting_by_the_form(team: Team, family: Any) -> None:
    form = {"alias": "champion", "version": "2", "reason": "smaller", "stay": "version"}
    answer = team.maintainer.browser().post("/models/intents/alias", form, follow=True)
    assert "champion is intents@2 now" in text(answer)
    assert Alias.objects.get(name="champion").version.number == 2
    assert "smaller" in text(team.viewer.browser().get("/models/intents/2/history"))
    assert team.developer.browser().post("/models/intents/alias", {**form, "version": "1"}).status_code == 403
    text(team.maintainer.browser().post("/models/intents/alias", {"alias": "champion"}, follow=True))
    assert not Alias.objects.exists()


def test_deleting_what_is_used_says_by_what(team: Team, family: Any) -> None:
    answer = team.maintainer.browser().post("/models/intents/1/delete", follow=True)
    assert "intents@1 is in use: " in text(answer)
    assert ModelVersion.objects.count() == 2


def test_the_download_button_gives_the_bundle(team: Team, family: Any) -> None:
    answer = team.viewer.browser().get("/models/intents/1/download")
    assert answer["Content-Disposition"] == 'attachment; filename="intents-1.zip"'
    assert b"".join(answer.streaming_content).startswith(b"PK")


def test_importing_by_the_form(team: Team, settings: Any, shared_models: Any) -> None:
    settings.MODEL_PATHS = [shared_models]
    client = team.developer.browser()
    refused = client.post("/base-models/import", {"source": "folder", "path": "/etc"})
    assert refused.status_code == 422
    assert "TUNEYARD_MODEL_PATHS" in refused.content.decode()
    form = {"source": "folder", "path": str(shared_models / "stories260k-llama")}
    done = client.post("/base-models/import", form, follow=True)
    assert "stories260k-llama can be fine-tuned now" in text(done)
    client.post("/base-models/stories260k-llama/delete")
    assert not BaseModel.objects.filter(workspace=team.workspace).exists()
    assert team.viewer.browser().post("/base-models/import", {"path": "/etc"}).status_code == 403


def test_empty_pages_say_what_to_do(team: Team) -> None:
    client = team.viewer.browser()
    assert "No model yet" in text(client.get("/models/"))
    BaseModel.objects.all().delete()
    assert "No base model is installed" in text(client.get("/base-models/"))
