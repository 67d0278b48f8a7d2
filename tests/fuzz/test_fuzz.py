"""A short run of each fuzzing target from its seeds: the harness works, and nothing lies at the surface.

Where there is no atheris, hypothesis cuts and joins the seeds, which knows nothing of coverage.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, Http, seeds

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_parts_of_seeds_and_any_bytes_find_nothing(name: str) -> None:
    whole = st.sampled_from(seeds(name))
    part = st.builds(
        lambda seed, start, size: seed[start : start + size], whole, st.integers(0, 200), st.integers(0, 400)
    )

    async def scenario() -> None:
        target = TARGETS[name]()
        for seed in seeds(name):
            target(seed)
        if isinstance(target, Http):
            assert target.seen == {b"100", b"200", b"400"}
        settings(max_examples=200, deadline=None)(
            given(st.lists(whole | part | st.binary(max_size=60), max_size=5))(lambda pieces: target(b"".join(pieces)))
        )()

    asyncio.run(scenario())


@pytest.mark.parametrize("target", TARGETS)
def test_a_short_run_finds_nothing(target: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed; see `make fuzz`")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "fuzz.py"), target, "--runs", "3000", "--seed", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done 3000 runs" in done.stderr
    assert not list(tmp_path.iterdir())
