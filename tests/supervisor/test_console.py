"""What the lines look like on the terminal and in the files."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tuneyard.supervisor import console as module
from tuneyard.supervisor.child import LONGEST_PAUSE_S, pause_before_restart
from tuneyard.supervisor.console import Console


def test_a_line_carries_its_process_and_lands_in_its_file(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(tmp_path, stream=stream)
    console.line("web", "GET /\x1b[31m red\x1b[0m\r\n")
    console.line("work-cpu", "ready")
    first, second = stream.getvalue().splitlines()
    assert first[9:] == "web        | GET / red"
    assert second[9:] == "work-cpu   | ready"
    assert (tmp_path / "web.log").read_text().endswith(" GET / red\n")
    assert "ready" not in (tmp_path / "web.log").read_text()


def test_a_block_reaches_no_file(tmp_path: Path) -> None:
    console = Console(tmp_path, stream=io.StringIO())
    console.block("password: correct-horse")
    console.say("up")
    assert all("correct-horse" not in path.read_text() for path in tmp_path.iterdir())


def test_a_full_file_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FILE_BYTES", 200)
    console = Console(tmp_path, stream=io.StringIO())
    for number in range(50):
        console.line("web", f"line {number}")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["web.log", "web.log.1", "web.log.2", "web.log.3"]
    assert all(path.stat().st_size <= 200 for path in tmp_path.iterdir())


def test_colours_appear_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    Console(tmp_path, stream=stream).line("web", "x")
    assert "\x1b[" in stream.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    Console(tmp_path, stream=stream).line("web", "x")
    assert "\x1b[" not in stream.getvalue()


def test_pauses_double_up_to_a_bound() -> None:
    assert [pause_before_restart(deaths) for deaths in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert pause_before_restart(10_000) == LONGEST_PAUSE_S
