"""What the child of one job does: read the frozen spec, run the recipe, write how it ended. Light until the recipe.

`python -m modelkit.run JOB_FOLDER` does the same by hand, without the launcher. Knows neither Django nor Celery: all it
has is the job folder (see `modelkit.jobfolder`). It always tries to leave a `result.json`; where it cannot (killed, or
not one free byte), the launcher's `exit.json` speaks for it.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modelkit import catalog
from modelkit.contracts import BaseModelRef, DatasetRef, Outcome, Recipe, RunContext, TrainJob
from modelkit.errors import Stopped, UserError
from modelkit.jobfolder import JobFolder, write_json
from modelkit.tracking.folder import FolderReporter
from modelkit.tracking.usage import UsageSampler
from modelkit.wording import pack, say

logger = logging.getLogger("tuneyard.job")

#: Kept aside at the start and given back at the end, so that a full disk can still be told from a crash.
RESERVE_BYTES = 128 * 1024

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(job_dir: Path, *, attempt: int = 1, device: str = "cpu", threads: int = 1) -> int:
    """Run the job in `job_dir` and return the exit status: 0 once a result is written, whatever it says."""
    folder = JobFolder(Path(job_dir))
    _log_to_stderr()
    _use_threads(threads)
    reserve = folder.path / ".reserve"
    started = time.monotonic()
    try:
        reserve.write_bytes(bytes(RESERVE_BYTES))
        reporter = FolderReporter(folder)
        reporter.attempt(attempt)
    except OSError as error:
        reserve.unlink(missing_ok=True)
        return _write_result(folder, attempt, _failure(error))
    reporter.stop_on(signal.SIGTERM, signal.SIGINT)
    try:
        with UsageSampler(folder, reporter):
            ending = _run(folder, reporter, device=device, threads=threads)
    finally:
        reserve.unlink(missing_ok=True)
    try:
        reporter.resources(
            peak_memory_bytes=_peak_memory_bytes(),
            elapsed_s=time.monotonic() - started,
            disk_bytes=folder.size_bytes(),
        )
    except OSError:
        logger.warning("The cost of this run could not be written.")
    return _write_result(folder, attempt, ending)


def _run(folder: JobFolder, reporter: FolderReporter, *, device: str, threads: int) -> dict[str, Any]:
    try:
        spec = folder.spec()
        if spec is None:
            raise UserError(
                "spec_missing", "The job's folder holds no readable spec.", "Clone the job and start it again."
            )
        context = RunContext(
            scratch=folder.path, device=device, seed=int(spec["seed"]), reporter=reporter, threads=threads
        )
        if spec["kind"] == "preview":
            preview = getattr(catalog.task_module(spec["task"], "train"), "preview", None)
            if preview is None:
                raise UserError("no_preview", "This task shows its first batch once the job runs.", "")
            preview(context, train_job(spec))
            return {"outcome": "succeeded"}
        if spec["kind"] == "predict":
            return _predict(context, spec)
        outcome = _dispatch(context, spec)
        bundle = Path(outcome.bundle).resolve().relative_to(folder.path.resolve()).as_posix()
    except Stopped:
        mode = folder.stop_request() or "stop"
        logger.info("Stopped as asked.")
        return {"outcome": "cancelled" if mode == "cancel" else "interrupted"}
    except BaseException as error:  # the result file must tell of every ending
        return _failure(error)
    logger.info("Done: %s.", ", ".join(f"{name} {value:.4f}" for name, value in outcome.metrics.items()))
    metrics = {name: float(value) for name, value in outcome.metrics.items()}
    return {"outcome": "succeeded", "metrics": metrics, "metrics_split": outcome.split, "bundle": bundle}


def _dispatch(context: RunContext, spec: Mapping[str, Any]) -> Outcome:
    match spec["kind"]:
        case "train":
            recipe: Recipe = catalog.task_module(spec["task"], "train").run
            return recipe(context, train_job(spec))
        case "compress":
            from modelkit.compression import recipe as compression

            return compression.run(
                context,
                source=Path(spec["source"]["bundle"]),
                target=context.scratch / "bundle",
                method=spec["method"],
                params=catalog.methods()[spec["method"]].params.model_validate(spec["params"]),
                dataset=_dataset(spec.get("dataset")),
                lineage=spec.get("lineage", {}),
            )
        case kind:
            raise UserError(
                "kind_unknown", "This installation has no job kind “{kind}”.", "Update the worker.", kind=kind
            )


def _predict(context: RunContext, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A batch prediction: its files are its result, there is no bundle."""
    from modelkit.prediction import recipe as prediction
    from modelkit.prediction.inputs import FileRef

    file = spec.get("file")
    tally = prediction.run(
        context,
        source=Path(spec["source"]["bundle"]),
        dataset=_dataset(spec.get("dataset")),
        file=FileRef(Path(file["path"]), file["name"], file["mapping"], file["options"]) if file else None,
        split=spec["split"],
    )
    logger.info("Done: %d rows.", tally.rows)
    metrics = {"rows": float(tally.rows)}
    if tally.labelled:
        metrics["accuracy"] = tally.agree / tally.labelled
    return {"outcome": "succeeded", "metrics": metrics}


def train_job(spec: Mapping[str, Any]) -> TrainJob:
    """The spec of a training as its recipe receives it; raises ValidationError for parameters of another version."""
    dataset = _dataset(spec["dataset"])
    assert dataset is not None  # noqa: S101 - a training's spec always names one
    base = spec["base_model"]
    return TrainJob(
        task=spec["task"],
        params=catalog.tasks()[spec["task"]].params.model_validate(spec["params"]),
        dataset=dataset,
        base_model=BaseModelRef(id=base["id"], path=Path(base["path"]), revision=base["revision"]),
        model_name=spec["model_name"],
        budget_s=spec.get("budget_s"),
        lineage=spec.get("lineage", {}),
    )


def _dataset(value: Mapping[str, Any] | None) -> DatasetRef | None:
    return DatasetRef(ref=value["ref"], path=Path(value["path"]), digest=value["digest"]) if value else None


# --- endings --------------------------------------------------------------------------------------------------------


def _failure(error: BaseException) -> dict[str, Any]:
    """How an exception ends the job: `failed` where the user can mend it, else `errored` with the traceback."""
    trace = "".join(traceback.format_exception(error))
    outcome = "failed"
    message: str
    if isinstance(error, UserError):
        code, message, hint = error.code, error.message, error.hint
    elif isinstance(error, OSError) and error.errno in DISK_FULL:
        code, message = "disk_full", say("The disk is full; the job could not write its files.")
        hint = say("Free some space (old jobs and dataset versions can be deleted), then resume the job.")
    elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        code, message = "out_of_memory", say("The memory was not enough, even for the smallest step.")
        hint = say("Choose a smaller batch, a shorter maximum length or a smaller base model.")
    elif isinstance(error, ValidationError):
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        code, message = "params_invalid", f"{field}: {first['msg']}"
        hint = say("The parameters do not fit the task of this worker's version. Clone the job to choose them anew.")
    else:
        outcome, code = "errored", "crashed"
        message = f"{type(error).__name__}: {error}"
        hint = say("This is a fault of the platform or of a library, not of your data. The traceback says where.")
    logger.error("%s", message if outcome == "failed" else trace)
    card = pack({"code": code, "message": message, "hint": hint, "traceback": trace})
    return {"outcome": outcome, "error": card}


def _write_result(folder: JobFolder, attempt: int, ending: Mapping[str, Any]) -> int:
    result = {"metrics": {}, "metrics_split": None, "bundle": None, "error": None, **ending, "attempt": attempt}
    try:
        write_json(folder.result_path, result, durable=True)
    except OSError as error:
        logger.error("The result could not be written: %s", error)
        return error.errno or 1
    return 0


def _peak_memory_bytes() -> int:
    # Linux counts in KiB.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024


# --- the process ----------------------------------------------------------------------------------------------------


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)


def _use_threads(threads: int) -> None:
    """Let numeric libraries use `threads` threads, whether they are imported already (launcher) or not yet."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    torch = sys.modules.get("torch")
    if torch is not None:
        # libgomp read its variables when the launcher imported torch; only this call reaches it now.
        torch.set_num_threads(threads)
    threadpoolctl = sys.modules.get("threadpoolctl")
    if threadpoolctl is not None:
        threadpoolctl.threadpool_limits(limits=threads, user_api="blas")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m modelkit.run", description="Run one job folder in this process.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--attempt", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    sys.exit(main(arguments.folder, attempt=arguments.attempt, device=arguments.device, threads=arguments.threads))
