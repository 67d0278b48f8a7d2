"""A file system that is really full: one job fails with the reason and goes on later, an upload is refused whole."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.modelkit.launching import wait_for
from tests.workers.stack import Stack

pytestmark = pytest.mark.services

#: A job is refused from the start where less than 200 MB are left.
JOBS_MB, UPLOADS_MB = 400, 32


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[None]:
    """Put an empty file system of that size over a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system, and not in every container")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def on_small_disk(stack: Stack) -> Iterator[Callable[[str, int], Path]]:
    """`on_small_disk("jobs", 400)` puts that folder of the home on a small file system until the test ends."""
    with ExitStack() as mounted:

        def mount(name: str, size_mb: int) -> Path:
            folder = stack.home / name
            mounted.enter_context(small_disk(folder, size_mb))
            return folder

        yield mount


def test_a_full_disk_fails_one_job_and_not_the_next(stack: Stack, on_small_disk: Callable[[str, int], Path]) -> None:
    on_small_disk("jobs", JOBS_MB)
    full = stack.ended(stack.job("fills", steps=4, ending="disk_full"))
    assert (full["status"], full["error"]["code"]) == ("failed", "disk_full")
    assert "disk is full" in full["error"]["message"]
    assert "Free some space" in full["error"]["hint"]
    refused = stack.client.post("/jobs", json=stack.body("no-room", steps=1))
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "disk_low")
    assert stack.client.delete(f"/jobs/{full['id']}").status_code == 204
    wait_for(lambda: not stack.folder(full["id"]).path.exists(), what="the room of the deleted job")
    assert stack.ended(stack.job("fits", steps=4))["status"] == "succeeded"


def test_a_full_disk_refuses_an_upload_and_keeps_nothing_of_it(
    stack: Stack, on_small_disk: Callable[[str, int], Path]
) -> None:
    incoming = on_small_disk("storage", UPLOADS_MB)
    table = b"text,label\n" + b"where is my card,card\ngive me my money back,refund\n" * (1 << 20)
    assert len(table) > UPLOADS_MB << 20
    answer = stack.client.post("/datasets/rows/versions", files={"file": ("big.csv", table, "text/csv")})
    assert answer.status_code == 507, answer.text
    assert answer.json()["error"]["code"] == "disk_full"
    assert [path for path in incoming.rglob("*") if path.is_file()] == []
    small = b"text,label\n" + b"".join(b"text number %d,%d\n" % (number, number % 2) for number in range(50))
    # The task of the stack's dataset is the toy's; what counts is that the bytes are taken.
    again = stack.client.post("/datasets/rows/versions", files={"file": ("small.csv", small, "text/csv")})
    assert again.status_code == 201, again.text
