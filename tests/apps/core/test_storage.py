"""The file store's address, and what happens around a local one; S3 itself is tested in `tests/services`."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from apps.core import storage
from tuneyard import env


@pytest.mark.parametrize("address", ["s3://bucket", "s3://bucket/some/prefix", "file:///srv/rows", "/srv/rows"])
def test_addresses_that_are_taken(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("STORAGE_URL", address)
    assert env.storage("STORAGE_URL", Path("/home/storage")) == address


@pytest.mark.parametrize(
    "address", ["s3://", "s3:///prefix", "s3://key:secret@bucket", "gs://bucket", "http://host/x", "rows", "file://h/x"]
)
def test_addresses_that_are_refused_say_what_to_write(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("STORAGE_URL", address)
    with pytest.raises(
        ImproperlyConfigured, match=r"STORAGE_URL must be .*s3://bucket/prefix.*AWS_ACCESS_KEY_ID"
    ) as refusal:
        env.storage("STORAGE_URL", Path("/home/storage"))
    assert "secret" not in str(refusal.value)


def test_without_an_address_rows_lie_in_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_URL", raising=False)
    assert env.storage("STORAGE_URL", Path("/home/storage")) == "file:///home/storage"


def test_scratch_of_killed_processes_goes_and_that_of_living_ones_stays(settings: Any, tmp_path: Path) -> None:
    settings.HOME = tmp_path
    old, new = (storage.checking_dir() / name for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "staged.parquet").write_bytes(b"x")
    long_ago = time.time() - 90_000
    os.utime(old, (long_ago, long_ago))
    storage.scratch_clean(older_than=timedelta(days=1))
    assert new.exists()
    assert not old.exists()
