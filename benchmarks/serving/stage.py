"""What every contender gets: the same bundle, the same sentences, the same load.

The model is the platform's own: Banking77 by the preset Instant, in float32 and as dynamic INT8. It is trained once and
kept under `build/bench`, named after what it was made from.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.training import recipes
from modelkit import bundle as bundles
from modelkit import catalog
from modelkit.compression import recipe
from modelkit.contracts import RunContext, TrainJob
from modelkit.tasks.text_classification import data
from modelkit.tasks.text_classification.spec import SPEC
from modelkit.tracking.memory import MemoryReporter

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "bench"
SENTENCES = 200
TOKEN = "ty_bench"  # noqa: S105

#: Rotates the sentences and ends with one line of JSON; wrk's latencies are in microseconds.
_LUA = """
local bodies = {
%s
}
local at = 0
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer %s"
function request()
  at = at %% #bodies + 1
  return wrk.format(nil, nil, nil, bodies[at])
end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests": %%d, "duration_us": %%d, "refused": %%d, "broken": %%d, "p50_us": %%d, "p99_us": %%d}\\n',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Stage:
    """Bundles by precision, and the sentences in the order in which they are asked."""

    bundles: dict[str, Path]
    sentences: list[str]
    folder: Path

    @property
    def file(self) -> Path:
        """The sentences as a JSON list, for processes of other environments."""
        return self.folder / "sentences.json"


@dataclass(frozen=True)
class Load:
    """What wrk saw of one server: `refused` were answered with another status than 200, `broken` not at all."""

    requests: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def prepare() -> Stage:
    """The stage, trained where it is not there yet. Raises SystemExit with the remedy for what is missing."""
    if shutil.which("wrk") is None:
        sys.exit("The load generator wrk is not installed: apt-get install wrk.")
    CACHE.mkdir(parents=True, exist_ok=True)
    bench = recipes.prepare(CACHE / "data") if not (CACHE / "data").is_dir() else _again()
    made_from = json.dumps([bench.dataset.digest, bench.base_model.revision, SPEC.preset("instant").values])
    folder = CACHE / f"model-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}"
    for name, make in (("fp32", _train), ("int8", _compress)):
        if not (folder / name / bundles.MANIFEST).is_file():
            print(f"bench    | making the {name} model (once)", file=sys.stderr, flush=True)
            shutil.rmtree(folder / name, ignore_errors=True)
            make(bench, folder)
    texts = data.load(bench.dataset).test.texts
    chosen = np.random.default_rng(0).permutation(len(texts))[:SENTENCES]
    sentences = [texts[row] for row in chosen]
    (CACHE / "sentences.json").write_text(json.dumps(sentences))
    return Stage({"fp32": folder / "fp32", "int8": folder / "int8"}, sentences, CACHE)


def _again() -> recipes.Bench:
    shutil.rmtree(CACHE / "data")
    return recipes.prepare(CACHE / "data")


def _train(bench: recipes.Bench, folder: Path) -> None:
    context = RunContext(folder / "run", "cpu", 0, MemoryReporter(), recipes.THREADS)
    outcome = catalog.task_module(SPEC.name, "train").run(
        context, TrainJob(SPEC.name, bench.params("instant"), bench.dataset, bench.base_model, "instant")
    )
    shutil.move(outcome.bundle, folder / "fp32")
    shutil.rmtree(folder / "run")


def _compress(bench: recipes.Bench, folder: Path) -> None:
    """By the platform's own recipe: the agent holds a variant to the parity that is recorded there."""
    recipe.run(
        RunContext(folder / "run", "cpu", 0, MemoryReporter(), recipes.THREADS),
        source=folder / "fp32",
        target=folder / "int8",
        method="dynamic_int8",
        params=catalog.methods()["dynamic_int8"].params(),
        dataset=bench.dataset,
        lineage={},
    )
    shutil.rmtree(folder / "run")


def write_script(path: Path, bodies: list[str]) -> Path:
    """The wrk script that sends `bodies` in rotation."""
    quoted = ",\n".join(f"[==[{body}]==]" for body in bodies)
    path.write_text(_LUA % (quoted, TOKEN))
    return path


def ask(url: str, script: Path, *, connections: int, seconds: int) -> Load:
    """Load `url` with wrk. Raises RuntimeError when it says nothing that can be read."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk gave no result:\n{output}")
    result = json.loads(found[1])
    return Load(
        requests=result["requests"],
        seconds=result["duration_us"] / 1e6,
        refused=result["refused"],
        broken=result["broken"],
        p50_ms=result["p50_us"] / 1000,
        p99_ms=result["p99_us"] / 1000,
    )
