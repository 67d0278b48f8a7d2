"""The files of a job folder: torn lines, offsets, locks, stop requests."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from modelkit.jobfolder import Child, JobFolder
from modelkit.tracking.folder import FolderReporter


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    folder = JobFolder(tmp_path / "job")
    folder.create({"seed": 1})
    return folder


def test_events_are_read_once_and_whole(folder: JobFolder) -> None:
    reporter = FolderReporter(folder)
    reporter.phase("training")
    events, offset = folder.read_events()
    assert [event["name"] for event in events] == ["training"]
    with folder.events_path.open("a") as file:
        file.write('{"t": 1, "type": "noti')
    assert folder.read_events(offset) == ([], offset)
    # The next attempt begins on a line of its own, and the torn one is skipped.
    FolderReporter(folder).phase("evaluating")
    events, end = folder.read_events(offset)
    assert [event["name"] for event in events] == ["evaluating"]
    assert end == folder.events_path.stat().st_size


def test_a_block_limit_only_delays(folder: JobFolder) -> None:
    reporter = FolderReporter(folder)
    for step in range(50):
        reporter.metrics({"loss": 1.0}, step=step)
    offset, steps = 0, []
    while True:
        events, following = folder.read_events(offset, limit_bytes=300)
        if following == offset:
            break
        steps += [event["step"] for event in events]
        offset = following
    assert steps == list(range(50))


def test_numbers_that_are_none_are_left_out(folder: JobFolder) -> None:
    reporter = FolderReporter(folder)
    reporter.metrics({"loss": float("nan"), "lr": 0.1}, step=1)
    reporter.progress(float("nan"))
    first, second = folder.read_events()[0]
    assert first["values"] == {"lr": 0.1}
    assert second["fraction"] == 0.0


def test_progress_is_thinned_but_its_end_is_kept(folder: JobFolder) -> None:
    reporter = FolderReporter(folder)
    for step in range(1, 501):
        reporter.progress(step / 1000, step=step, steps=500)
    events = folder.read_events()[0]
    assert len(events) < 250
    assert events[-1]["step"] == 500


def test_log_is_read_by_whole_lines_from_either_end(folder: JobFolder) -> None:
    folder.log_path.write_text("one\ntwo\nthr", encoding="utf-8")
    assert folder.read_log() == ("one\ntwo\n", 8)
    assert folder.read_log(8) == ("", 8)
    assert folder.read_log(-7)[0] == "two\n"
    assert folder.read_log(-6)[0] == ""
    assert folder.read_log(-1000)[0] == "one\ntwo\n"


def test_the_lock_is_exclusive_and_ends_with_its_holder(folder: JobFolder) -> None:
    held = folder.lock()
    assert held is not None
    assert folder.lock() is None
    os.close(held)
    again = folder.lock()
    assert again is not None
    os.close(again)


def test_a_cancel_is_never_weakened_to_a_stop(folder: JobFolder) -> None:
    reporter = FolderReporter(folder)
    assert not reporter.should_stop()
    folder.request_stop("stop")
    assert (folder.stop_request(), reporter.should_stop()) == ("stop", True)
    folder.request_stop("cancel")
    folder.request_stop("stop")
    assert folder.stop_request() == "cancel"


def test_a_reused_pid_is_not_taken_for_the_child() -> None:
    me = psutil.Process()
    assert Child(pid=me.pid, started_at=me.create_time(), attempt=1).alive
    assert not Child(pid=me.pid, started_at=me.create_time() - 60, attempt=1).alive


def test_the_spec_is_written_once(folder: JobFolder) -> None:
    folder.create({"seed": 2})
    assert folder.spec() == {"seed": 1}
    folder.spec_path.write_text("{")
    folder.create({"seed": 3})
    assert folder.spec() == {"seed": 3}
