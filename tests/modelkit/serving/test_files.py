"""Files that are replaced while others look at them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelkit.serving.files import Watched, tail, write_atomic
from modelkit.serving.plan import KeySet
from tests.modelkit.serving.toys import key


def _keys(token: str) -> KeySet:
    return KeySet(keys=(key(token, "ws1"),))


def _write(path: Path, keys: KeySet) -> None:
    write_atomic(path, keys.model_dump_json().encode())


def test_each_content_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    watched = Watched(path, KeySet)
    assert watched.read() is None
    _write(path, _keys("ty_a"))
    assert watched.read() == _keys("ty_a")
    assert watched.read() is None
    _write(path, _keys("ty_b"))
    assert watched.read() == _keys("ty_b")


def test_a_version_of_the_same_moment_and_size_is_seen(tmp_path: Path) -> None:
    """Clocks of file systems tick every few milliseconds; what changed within one tick must not be missed."""
    path = tmp_path / "keys.json"
    watched = Watched(path, KeySet)
    for token in ("ty_a", "ty_b"):
        _write(path, _keys(token))
        os.utime(path, ns=(0, 0))
        assert watched.read() == _keys(token)


def test_a_damaged_file_is_passed_over_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys.json"
    watched = Watched(path, KeySet)
    path.write_text('{"keys": 7}')
    assert watched.read() is None
    assert watched.read() is None
    assert "keys.json cannot be read" in watched.problem
    assert len(caplog.records) == 1
    _write(path, _keys("ty_a"))
    assert watched.read() == _keys("ty_a")
    assert not watched.problem


def test_a_file_that_the_system_refuses_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As with too many open files: that passes, and what the file says must not be missed."""
    path = tmp_path / "keys.json"
    _write(path, _keys("ty_a"))
    (tmp_path / "aside").mkdir()
    watched = Watched(path, KeySet)
    path.rename(tmp_path / "kept")
    (tmp_path / "aside").rename(path)
    assert watched.read() is None
    assert watched.read() is None
    assert watched.problem
    assert len(caplog.records) == 1
    path.rmdir()
    (tmp_path / "kept").rename(path)
    assert watched.read() == _keys("ty_a")


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.mkdir()
    with pytest.raises(OSError, match=r"keys\.json"):
        write_atomic(path, b"{}")
    assert list(tmp_path.iterdir()) == [path]


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "runner.log"
    assert tail(path, 2) == []
    path.write_text("one\ntwo\nthree\n")
    assert tail(path, 2) == ["two", "three"]
