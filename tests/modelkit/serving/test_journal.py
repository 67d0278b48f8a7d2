"""The front's files: what is written is read once, whatever the disk or the reader does."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from modelkit.serving import journal
from modelkit.serving.journal import Journal, Slice
from modelkit.serving.tally import Tally
from modelkit.serving.wire import NO_COST


def slice_of(at: int, requests: int = 1, endpoint: str = "intents", workspace: str = "ws1") -> Slice:
    tally = Tally()
    for _ in range(requests):
        tally.answer(2.0, 1, NO_COST)
    return Slice(at, workspace, endpoint, 1, tally)


def read_all(folder: Path) -> list[tuple[int, int]]:
    return [(part.at, part.tally.requests) for path in journal.files(folder) for part in journal.read(path, 0)[0]]


def test_a_reader_goes_on_where_it_was_and_takes_whole_lines_only(tmp_path: Path) -> None:
    written = Journal(tmp_path)
    written.write([slice_of(0), slice_of(5, 2)])
    (path,) = journal.files(tmp_path)
    first, offset = journal.read(path, 0)
    assert [part.at for part in first] == [0, 5]
    with path.open("ab") as file:
        file.write(b'{"at": 10, "work')
    assert journal.read(path, offset) == ([], offset)
    with path.open("ab") as file:
        file.write(b'space": 1}\n' + slice_of(15).line())
    # The damaged line is passed over, not stopped at.
    following, end = journal.read(path, offset)
    assert [part.at for part in following] == [15]
    assert end == path.stat().st_size


def test_a_small_limit_reads_everything_in_the_end(tmp_path: Path) -> None:
    Journal(tmp_path).write([slice_of(at) for at in range(0, 500, 5)])
    (path,) = journal.files(tmp_path)
    seen: list[int] = []
    offset = 0
    while offset < path.stat().st_size:
        slices, offset = journal.read(path, offset, limit_bytes=700)
        seen += [part.at for part in slices]
    assert seen == list(range(0, 500, 5))


def test_each_front_has_a_file_of_its_own(tmp_path: Path) -> None:
    Journal(tmp_path).write([slice_of(0)])
    Journal(tmp_path).write([slice_of(0)])
    assert len(journal.files(tmp_path)) == 2


def test_after_a_rest_it_does_not_touch_the_old_file(tmp_path: Path) -> None:
    """The reader deletes what has rested; a line written there would be lost."""
    written = Journal(tmp_path)
    written.write([slice_of(0)])
    (old,) = journal.files(tmp_path)
    written._written_at -= journal.RESTED_S + 1
    written.write([slice_of(600)])
    assert len(journal.files(tmp_path)) == 2
    assert len(journal.read(old, 0)[0]) == 1
    assert journal.RESTED_S < journal.COMPLETE_S


class _Full:
    """A disk that takes `room` bytes more."""

    def __init__(self, path: Path, room: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self.room = room

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._file)

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = os.write(self._file, data[: self.room])
        self.room -= taken
        return taken


@pytest.mark.parametrize("room", [0, 1, 60, 150, 151, 200, 300, 420])
def test_a_full_disk_delays_lines_and_neither_loses_nor_doubles_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    written = Journal(tmp_path)
    written.write([slice_of(0)])
    (path,) = journal.files(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(Path, "open", lambda self, *args, **options: _Full(path, room), raising=True)
        written.write([slice_of(5, 2), slice_of(10, 3)])
    written.write([slice_of(15)])
    assert read_all(tmp_path) == [(0, 1), (5, 2), (10, 3), (15, 1)]


def test_memory_is_bounded_while_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_MAX_PENDING_BYTES", 2000)
    blocked = tmp_path / "file"
    blocked.write_text("")
    written = Journal(blocked / "folder")
    for at in range(0, 500, 5):
        written.write([slice_of(at)])
    assert len(written._pending) < 2500
    blocked.unlink()
    written.write([])
    # The oldest are gone, the lines that stay are whole.
    kept = [at for at, _ in read_all(blocked / "folder")]
    assert kept == list(range(500 - 5 * len(kept), 500, 5))


def test_the_folder_is_bounded_when_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(journal, "MAX_FOLDER_BYTES", 5000)
    written = Journal(tmp_path)
    # Files of one second are sorted by their ids.
    monkeypatch.setattr("modelkit.serving.journal.secrets.token_hex", _counter())
    for at in range(0, 1000, 5):
        written.write([slice_of(at)])
    assert sum(path.stat().st_size for path in journal.files(tmp_path)) <= 5000
    assert read_all(tmp_path)[-1] == (995, 1)


def _counter() -> Any:
    numbers = iter(range(1000))
    return lambda size: f"{next(numbers):08x}"


def test_since_reads_one_endpoint_and_no_more_than_it_must(tmp_path: Path) -> None:
    rows = [slice_of(at, endpoint=name) for at in range(0, 5000, 5) for name in ("intents", "other")]
    Journal(tmp_path).write(rows)
    (path,) = journal.files(tmp_path)
    assert [part.at for part in journal.since(tmp_path, 4900, about=("ws1", "intents"))] == list(range(4900, 5000, 5))
    assert list(journal.since(tmp_path, 0, about=("ws2", "intents"))) == []
    assert len(list(journal.since(tmp_path, 0, about=("ws1", "intents")))) == 1000
    assert 0 < journal.offset_of(path, 4900) < path.stat().st_size
