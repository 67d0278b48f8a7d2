"""Two versions row by row, over the files that their jobs left in the bundles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.conf import settings

from apps.core import storage
from apps.datasets.models import DatasetVersion
from apps.registry import flips
from apps.registry.models import ModelVersion
from modelkit.data import store
from modelkit.evaluation import rows
from tests.apps.registry.factory import dataset_make, version_make
from tests.personas import Team

TEXTS = ["money back?", "my card is gone", "add 20 euros", "where is it", "<b>卡丢了</b>"]
TRUTH = ["refund", "card_lost", "top_up", "card_lost", "card_lost"]
BEFORE = ["refund", "card_lost", "refund", "top_up", "card_lost"]
AFTER = ["refund", "top_up", "top_up", "refund", "refund"]


def leave_answers(version: ModelVersion, predicted: Sequence[str], *, first: int = 0) -> None:
    """What a job leaves in the bundle: answers for as many rows, from `first` on."""
    ids = [f"row-{number}" for number in range(first, first + len(predicted))]
    truth = TRUTH[first : first + len(predicted)]
    scores = [0.5 + number / 10 for number in range(len(predicted))]
    rows.write(
        settings.BUNDLES_DIR / version.bundle_digest,
        split="test",
        row_ids=ids,
        truth=truth,
        predicted=predicted,
        scores=scores,
    )


def leave_rows(dataset: DatasetVersion) -> None:
    folder = storage.local_dir(dataset.prefix)
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"row-{number}" for number in range(len(TEXTS))]
    pq.write_table(pa.table({"row_id": ids, "text": TEXTS}), folder / store.ROWS)
    dataset.mapping = {"text": "text", "label": "label"}
    dataset.save()


@pytest.fixture
def pair(team: Team) -> tuple[ModelVersion, ModelVersion]:
    dataset = dataset_make(team.workspace)
    leave_rows(dataset)
    old, new = (version_make(team.workspace, number=n, dataset_version=dataset) for n in (1, 2))
    leave_answers(old, BEFORE)
    leave_answers(new, AFTER)
    return old, new


def test_flips_are_counted_by_what_became_of_them(pair: Any) -> None:
    old, new = pair
    found = flips.compare(new, old)
    assert (found.rows, found.only_own, found.only_other) == (5, 0, 0)
    assert found.counts == {"broken": 2, "mended": 1, "changed": 1}
    assert found.agreed == 1
    # The surest mistake comes first.
    assert [flip.text for flip in found.flips] == ["<b>卡丢了</b>", "my card is gone"]
    assert (found.flips[0].was, found.flips[0].now) == ("card_lost", "refund")
    back = flips.compare(old, new, kind="mended")
    assert [flip.row_id for flip in back.flips] == ["row-4", "row-1"]


def test_one_class_can_be_looked_at(pair: Any) -> None:
    old, new = pair
    assert [flip.truth for flip in flips.compare(new, old, kind="mended", label="top_up").flips] == ["top_up"]
    assert flips.compare(new, old, kind="mended", label="card_lost").flips == []


def test_rows_that_only_one_was_measured_on_are_told_and_left_out(team: Team) -> None:
    old, new = (version_make(team.workspace, number=n) for n in (1, 2))
    leave_answers(old, BEFORE)
    leave_answers(new, AFTER[2:4], first=2)
    found = flips.compare(new, old)
    assert (found.rows, found.only_own, found.only_other) == (2, 0, 3)
    # Without its dataset version a row is known by its id.
    assert [flip.text for flip in flips.compare(new, old, kind="mended").flips] == [None]


def test_a_version_without_answers_is_named(team: Team, pair: Any) -> None:
    bare = version_make(team.workspace, number=3)
    assert flips.compare(bare, pair[0]).unknown == ["intents@3"]
    page = team.viewer.browser().get("/models/intents/3/diff?with=1").content.decode()
    assert "No answers by row are kept for intents@3" in page


def test_the_page_shows_them_escaped(team: Team, pair: Any) -> None:
    page = team.viewer.browser().get("/models/intents/2/diff?with=1").content.decode()
    assert "&lt;b&gt;卡丢了&lt;/b&gt;" in page
    assert "Right to wrong 2" in page
    assert "1 of 5 rows are answered alike" in page
    mended = team.viewer.browser().get("/models/intents/2/diff?with=1&rows=mended").content.decode()
    assert "add 20 euros" in mended
    assert "my card is gone" not in mended


def test_the_api_gives_counts_and_rows(team: Team, pair: Any) -> None:
    viewer = team.viewer
    answer = viewer.api("GET", "/models/intents/versions/2/diff?against=1&rows=broken&limit=1")
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["version"], body["against"]) == ("intents@2", "intents@1")
    assert (body["rows"], body["broken"], body["mended"], body["changed"]) == (5, 2, 1, 1)
    assert [row["row_id"] for row in body["items"]] == ["row-4"]
    assert viewer.api("GET", "/models/intents/versions/2/diff?against=9").status_code == 404
    wrong = viewer.api("GET", "/models/intents/versions/2/diff?against=1&rows=nonsense")
    assert wrong.status_code == 422
    assert "rows" in str(wrong.json()["error"]["fields"])


def test_outsiders_see_nothing(team: Team, pair: Any) -> None:
    assert team.outsider.api("GET", "/models/intents/versions/2/diff?against=1").status_code == 404
