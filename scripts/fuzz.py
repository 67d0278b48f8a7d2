"""`python scripts/fuzz.py TARGET --seconds 300`: coverage-guided fuzzing of the serving port's parsers with atheris.

An input that breaks something is written to `crash-*` in the present folder, and the exit status is not 0; name the
file after the target to see it again. Targets: `tests/fuzz/targets.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "platform")]

import atheris  # noqa: E402

with atheris.instrument_imports(include=["modelkit.serving", "tests.fuzz"]):
    from tests.fuzz import targets


async def fuzz(name: str, arguments: list[str], again: list[Path]) -> None:
    """Inside a loop, which the front expects to run in; none of its tasks is ever continued. Ends the process."""
    target = targets.TARGETS[name]()
    for path in again:
        target(path.read_bytes())
    if again:
        return
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(targets.seeds(name)):
            target(seed)
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        atheris.Setup([sys.argv[0], corpus, *arguments], target)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=targets.TARGETS)
    parser.add_argument("again", nargs="*", type=Path, help="inputs to run once each")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=-1, help="end after as many inputs")
    parser.add_argument("--seed", type=int, default=0, help="0: by chance")
    options = parser.parse_args()
    limits = [f"-max_total_time={options.seconds}", f"-runs={options.runs}", f"-seed={options.seed}", "-max_len=4096"]
    asyncio.run(fuzz(options.target, limits, options.again))


if __name__ == "__main__":
    main()
