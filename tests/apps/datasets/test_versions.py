"""The life of a version: same files, same version; immutable; checked once, whoever dies."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from apps.core import storage
from apps.datasets import validation
from apps.datasets.models import Dataset, DatasetVersion, VersionStatus
from apps.datasets.samples import sample_import
from tests.apps.datasets.conftest import Uploads
from tests.personas import Team

pytestmark = pytest.mark.django_db
UNCLEAR = "body,answer,kind\n" + "".join(
    f"first long sentence {n},second long sentence {n},{'ab'[n % 2]}\n" for n in range(40)
)


def test_the_same_files_answer_the_version_they_made(uploads: Uploads, tickets: Callable[[], str]) -> None:
    first = uploads.make("t", {"file": ("t.csv", tickets())})
    again = uploads.post("t", {"file": ("renamed.csv", tickets())})
    assert (again.status_code, again.json()["version"]) == (200, 1)
    assert again.json()["digest"] == first["digest"]
    declared = uploads.post("t", {"file": ("t.csv", tickets())}, encoding="utf-8")
    assert declared.status_code == 201
    uploads.work()
    # Declared otherwise, the rows are the same: one digest, one version.
    assert uploads.version("t", 2)["error"]["same_as"] == "t@1"
    assert not list(settings.FILE_UPLOAD_TEMP_DIR.glob("*.upload*"))


def test_the_stored_original_is_what_was_sent(uploads: Uploads, tickets: Callable[[int], str]) -> None:
    uploads.make("t", {"train": ("train.csv", tickets(40)), "test": ("test.csv", tickets(9))})
    whole = uploads.person.api("GET", "/datasets/t/versions/1/download")
    archive = zipfile.ZipFile(io.BytesIO(b"".join(whole.streaming_content)))
    assert {name: archive.read(name).decode() for name in archive.namelist()} == {
        "train.csv": tickets(40),
        "test.csv": tickets(9),
    }
    one = uploads.person.api("GET", "/datasets/t/versions/1/download?file=test.csv")
    assert b"".join(one.streaming_content).decode() == tickets(9)
    assert uploads.person.api("GET", "/datasets/t/versions/1/download?file=other").status_code == 404


def test_rows_are_paged_filtered_and_sorted(uploads: Uploads, tickets: Callable[[int], str]) -> None:
    uploads.make("t", {"file": ("t.csv", tickets(60))})
    seen: list[str] = []
    cursor = ""
    while True:
        page = uploads.person.api("GET", f"/datasets/t/versions/1/rows?limit=50{cursor}").json()
        assert page["total"] == 120
        seen += [row["row_id"] for row in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert len(seen) == len(set(seen)) == 120
    get = uploads.person.api
    refunds = get("GET", "/datasets/t/versions/1/rows?label=refund&search=THE 5&sort=length&order=desc").json()
    assert refunds["total"] == 11
    assert all("the 5" in row["text"] and row["label"] == "refund" for row in refunds["items"])
    lengths = [len(row["text"]) for row in refunds["items"]]
    assert lengths == sorted(lengths, reverse=True)
    quoted = get("GET", "/datasets/t/versions/1/rows?search=%25'; DROP&label=%22").json()
    assert quoted == {"items": [], "next": None, "total": 0}


def test_a_mapping_lets_a_waiting_version_go_on_and_makes_a_new_one_of_a_done_one(uploads: Uploads) -> None:
    waiting = uploads.make("u", {"file": ("u.csv", UNCLEAR)})
    assert waiting["status"] == "needs_mapping"
    assert waiting["error"]["field"] == "mapping.text"
    api = uploads.person.api
    bad = api("PUT", "/datasets/u/versions/1/mapping", {"mapping": {"text": "answer", "tone": "x"}})
    assert (bad.status_code, list(bad.json()["error"]["fields"])) == (422, ["mapping.tone"])
    unknown = api("PUT", "/datasets/u/versions/1/mapping", {"mapping": {"text": "nothing"}})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (422, "unknown_column")
    assert list(unknown.json()["error"]["fields"]) == ["mapping.text"]
    twice = api("PUT", "/datasets/u/versions/1/mapping", {"mapping": {"text": "answer", "label": "answer"}})
    assert (twice.status_code, twice.json()["error"]["code"]) == (422, "column_twice")
    assert uploads.version("u", 1) == waiting
    assert api("PUT", "/datasets/u/versions/1/mapping", {"mapping": {"text": "answer"}}).json()["version"] == 1
    uploads.work()
    ready = uploads.version("u", 1)
    assert (ready["status"], ready["mapping"]) == ("ready", {"text": "answer", "label": "kind"})
    other = api("PUT", "/datasets/u/versions/1/mapping", {"mapping": {"text": "body"}}).json()
    assert other["version"] == 2
    uploads.work()
    assert uploads.version("u", 1) == ready
    assert uploads.version("u", 2)["mapping"]["text"] == "body"


def test_a_killed_worker_loses_nothing(uploads: Uploads, tickets: Callable[[], str]) -> None:
    uploads.person.api("POST", "/datasets", {"name": "t", "task": "text_classification"})
    uploads.post("t", {"file": ("t.csv", tickets())})
    uploads.sent.clear()  # the message was lost with the broker
    version = DatasetVersion.objects.get()
    dead = validation.version_claim(version.pk)
    assert dead is not None
    assert validation.version_claim(version.pk) is None, "two workers on one version"
    validation.versions_sweep()
    assert uploads.sent == [], "a live claim is left alone"
    # Its heartbeat stops.
    DatasetVersion.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))
    validation.versions_sweep()
    uploads.work()
    assert uploads.version("t", 1)["status"] == "ready"
    # The dead one comes back and changes nothing.
    assert not validation.version_heartbeat(dead, 0.5)
    assert not validation.version_finish(dead, VersionStatus.REJECTED, {"error": {"code": "x"}, "digest": ""})
    assert uploads.version("t", 1)["status"] == "ready"


def test_what_breaks_every_time_ends_in_a_clear_rejection(uploads: Uploads, tickets: Callable[[], str]) -> None:
    uploads.person.api("POST", "/datasets", {"name": "t", "task": "text_classification"})
    uploads.post("t", {"file": ("t.csv", tickets())})
    for _attempt in range(validation.MAX_ATTEMPTS):
        assert validation.version_claim(DatasetVersion.objects.get().pk) is not None
        DatasetVersion.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))
    uploads.sent.clear()
    validation.versions_sweep()
    assert uploads.sent == []
    version = uploads.version("t", 1)
    assert (version["status"], version["error"]["code"]) == ("rejected", "checking_failed")


def test_each_change_of_state_is_a_row(uploads: Uploads, tickets: Callable[[], str]) -> None:
    uploads.make("t", {"file": ("t.csv", tickets())})
    version = DatasetVersion.objects.get()
    steps = [(row.from_status, row.to_status) for row in version.transitions.all()]
    assert steps == [("uploading", "validating"), ("validating", "ready")]
    assert version.transitions.first().actor == uploads.person.user


def test_deleting_takes_files_and_versions_along(uploads: Uploads, team: Team, tickets: Callable[[], str]) -> None:
    dirty = tickets() + tickets().splitlines()[1] + "\n"
    uploads.make("t", {"file": ("t.csv", dirty)})
    uploads.fix("t", 1, "drop_duplicates")
    prefixes = [version.prefix for version in DatasetVersion.objects.all()]
    assert all(storage.exists(f"{prefix}/rows.parquet") for prefix in prefixes)
    assert team.maintainer.api("DELETE", "/datasets/t").status_code == 204
    assert not Dataset.objects.exists()
    assert not any(storage.exists(prefix) for prefix in prefixes)


def test_the_sample_is_clean_and_is_made_once(uploads: Uploads, team: Team) -> None:
    answer = team.developer.api("POST", "/datasets", {"name": "tickets", "sample": "tickets"})
    assert answer.status_code == 201, answer.content
    uploads.work()
    version = uploads.version("tickets", 1)
    assert (version["status"], version["rows"], len(version["labels"])) == ("ready", 600, 10)
    assert {check["severity"] for check in version["checks"]} == {"pass"}
    _dataset, again = sample_import(by=team.developer.identity)
    assert again.number == 1
