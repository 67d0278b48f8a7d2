"""The toy recipe: every step adds one line to `trace.txt`, so that a test sees which process took which step."""

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from modelkit import bundle
from modelkit.contracts import Outcome, RunContext, TrainJob
from modelkit.errors import Stopped, UserError

logger = logging.getLogger(__name__)


def run(ctx: RunContext, job: TrainJob) -> Outcome:
    params = job.params
    ctx.reporter.phase("preparing")
    done = _resume(ctx.scratch)
    logger.info("Starting after step %d of %d.", done, params.steps)
    ctx.reporter.phase("training")
    with (ctx.scratch / "trace.txt").open("a", buffering=1) as trace:
        for step in range(done + 1, params.steps + 1):
            if ctx.reporter.should_stop():
                _checkpoint(ctx, step - 1)
                raise Stopped
            if params.ending != "succeed" and step > params.steps // 2:
                _end(params.ending, ctx.scratch)
            time.sleep(params.step_ms / 1000)
            trace.write(f"{step} {os.getpid()}\n")
            ctx.reporter.metrics({"loss": 1 / step}, step=step, epoch=step / params.steps)
            ctx.reporter.progress(step / params.steps, step=step, steps=params.steps, eta_s=0.0)
            if step % params.checkpoint_every == 0:
                _checkpoint(ctx, step)
    ctx.reporter.phase("evaluating")
    ctx.reporter.metrics({"accuracy": 0.5}, step=params.steps, split="test")
    ctx.reporter.phase("exporting")
    return Outcome(bundle=_export(ctx, job), metrics={"accuracy": 0.5}, split="test")


def preview(ctx: RunContext, job: TrainJob) -> None:
    """One row, with the process that made it as its token."""
    if job.params.ending == "user_error":
        _end("user_error", ctx.scratch)
    content = {
        "rows": [{"text": "hello", "label": "yes", "tokens": [str(os.getpid())]}],
        "shape": [1, 1],
        "max_length": 8,
        "truncated_fraction": 0.0,
        "mean_tokens": 1.0,
        "unknown_fraction": 0.0,
    }
    (ctx.scratch / "artifacts" / "first_batch.json").write_text(json.dumps(content))


def _resume(scratch: Path) -> int:
    steps = [int(path.name.removeprefix("step-")) for path in (scratch / "checkpoints").glob("step-*")]
    return max(steps, default=0)


def _checkpoint(ctx: RunContext, step: int) -> None:
    folder = ctx.scratch / "checkpoints" / f"step-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.json").write_text(json.dumps({"step": step}))
    ctx.reporter.checkpoint(folder, step=step, epoch=1.0, values={"loss": 1 / max(step, 1)})


def _end(how: str, scratch: Path) -> None:
    match how:
        case "user_error":
            raise UserError("toy_refused", "The toy does not like this.", "Give it another.", field="params.ending")
        case "crash":
            raise ZeroDivisionError("toy")
        case "memory":
            raise MemoryError
        case "exit":
            os._exit(9)
        case "disk_full":
            # On a small file system the write itself fails; elsewhere say what it would have said.
            filler = scratch / "filler"
            if shutil.disk_usage(scratch).total < 1 << 30:
                with filler.open("wb") as file:
                    while True:
                        file.write(bytes(1 << 20))
                        file.flush()
            raise OSError(errno.ENOSPC, "No space left on device")
        case "torch":
            import torch

            # Large enough for torch to share it out over its threads.
            torch.ones(2000, 2000) @ torch.ones(2000, 2000)
            torch.ones(4_000_000).exp().sum()
            logger.info(
                "torch uses %d threads, %d run.", torch.get_num_threads(), len(list(Path("/proc/self/task").iterdir()))
            )
        case "children":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            (scratch / "grandchild").write_text(str(child.pid))
            time.sleep(600)


def _export(ctx: RunContext, job: TrainJob) -> Path:
    folder = ctx.scratch / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "counts.json").write_text(json.dumps({"label": "yes", "score": 0.5}))
    shutil.copyfile(Path(__file__).with_name("predict.py"), folder / bundle.PREDICTOR)
    outputs = [{"label": "yes", "scores": {"yes": 0.5}}]
    (folder / bundle.GOLDEN).write_text(json.dumps({"inputs": ["hello"], "outputs": outputs}))
    manifest = bundle.Manifest(
        task=job.task,
        name=job.model_name,
        created_at="2026-01-01T00:00:00Z",
        labels=["no", "yes"],
        graph="counts.json",
        request_example={"inputs": ["hello"]},
        metrics={"accuracy": 0.5},
        lineage=dict(job.lineage),
    )
    bundle.seal(folder, manifest)
    return folder
