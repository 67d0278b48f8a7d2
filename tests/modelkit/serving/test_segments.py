"""Segments: whole lines only, one owner at a time, and what a kill or a full disk leaves."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelkit.serving.segments import SegmentsFull, SegmentWriter, claimed, segments


def take_all(folder: Path) -> list[object]:
    taken = []
    for path in segments(folder):
        with claimed(path) as lines:
            taken += [line["n"] for line in lines or ()]
    return taken


def test_a_segment_is_read_once_and_only_after_its_writer_let_go(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "samples")
    writer.append(b'{"n":1}\n{"n":2}\n')
    assert take_all(tmp_path / "samples") == []
    writer.close()
    assert take_all(tmp_path / "samples") == [1, 2]
    assert segments(tmp_path / "samples") == []
    assert segments(tmp_path / "nowhere") == []


def test_age_and_size_close_a_segment(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, max_bytes=10)
    for n in range(3):
        writer.append(b'{"n":%d}\n' % n)
    assert take_all(tmp_path) == [0, 1]
    assert not writer.due
    writer.close()
    aged = SegmentWriter(tmp_path, max_age_s=0.0)
    aged.append(b'{"n":3}\n')
    assert aged.due
    aged.append(b'{"n":4}\n')
    assert take_all(tmp_path) == [2, 3]


def test_two_readers_do_not_share_a_segment(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append(b'{"n":1}\n')
    writer.close()
    (path,) = segments(tmp_path)
    with claimed(path) as lines, claimed(path) as others:
        assert lines == [{"n": 1}]
        assert others is None
    with claimed(path) as gone:
        assert gone is None


def test_a_reader_that_fails_leaves_the_segment(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append(b'{"n":1}\n')
    writer.close()
    with pytest.raises(RuntimeError), claimed(segments(tmp_path)[0]):
        raise RuntimeError
    assert take_all(tmp_path) == [1]


def test_kill_leaves_whole_lines_for_the_reader(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from modelkit.serving.segments import SegmentWriter\n"
        "writer = SegmentWriter(Path(sys.argv[1])); writer.append(b'{\"n\":1}\\n')\n"
        "import os; os.write(writer._fd, b'{\"n\":2,'); print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert take_all(tmp_path) == []
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert take_all(tmp_path) == [1]


def test_a_full_disk_refuses_and_leaves_whole_lines(tmp_path: Path) -> None:
    """The limit on a file's size stands for a disk that fills up in the middle of a write."""
    program = (
        "import resource, signal, sys; from pathlib import Path; from modelkit.serving.segments import SegmentWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (12, 12))\n"
        "writer = SegmentWriter(Path(sys.argv[1])); writer.append(b'{\"n\":1}\\n')\n"
        "try: writer.append(b'{\"n\":2}\\n')\n"
        "except OSError: print('refused')"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
    assert [path.read_bytes() for path in segments(tmp_path)] == [b'{"n":1}\n']


def test_segments_that_nobody_takes_do_not_fill_the_disk(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, max_bytes=1, max_folder_bytes=20)
    for n in range(3):
        writer.append(b'{"n":%d}\n' % n)
    with pytest.raises(SegmentsFull):
        writer.append(b'{"n":3}\n')
    assert take_all(tmp_path) == [0, 1, 2]
    writer.append(b'{"n":9}\n')
    writer.close()
    assert take_all(tmp_path) == [9]
