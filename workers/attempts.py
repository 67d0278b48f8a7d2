"""One attempt at a job, from the claim to its end: launch or adopt, follow, publish, and say how it ended.

Whatever dies in between, the next worker calls this again and goes on from what the folder and the row say.
"""

from __future__ import annotations

import logging
import shutil
import signal
import threading
from typing import Any

from apps.core.errors import Unavailable
from apps.jobs import services
from apps.jobs.models import Job, JobKind, JobStatus
from modelkit.errors import UserError
from modelkit.jobfolder import Child, JobFolder
from modelkit.run import DISK_FULL
from modelkit.tracking.sink import SinkRefused, SinkUnavailable
from modelkit.wording import both, pack, say, unpack
from workers import context, delivering, devices, launching, mirror, publishing, stopping
from workers.reporter import Ended, Lease, follow

logger = logging.getLogger(__name__)

#: With less than this free, a child that vanished without a word is taken to have filled the disk.
DISK_FULL_BYTES = 1 << 20
#: The import of MLflow's client takes seconds of a core; the child's first batch comes first.
WARM_UP_DELAY_S = 5.0


def _card(code: str, message: str, hint: str) -> dict[str, Any]:
    return {"code": code, "message": message, "hint": hint, "traceback": ""}


DISK_FULL_CARD = _card(
    "disk_full",
    say("The disk is full; the job could not write its files."),
    say("Free some space (old jobs and dataset versions can be deleted), then resume the job."),
)


def attempt(*, job: Job, owner: str) -> bool:
    """Carry a job on as far as it goes, wherever it stands; returns whether the worker may look for another one."""
    try:
        with Lease(job, owner) as lease:
            return _attempt(job, lease)
    except services.LeaseLost:
        logger.warning("Job %s: another worker holds it now.", job.public_id)
        return True


def _attempt(job: Job, lease: Lease) -> bool:
    folder = context.folder_of(job)
    copy = mirror.Mirror(job, folder, lease.owner)
    child = folder.child()
    if child is None or not child.alive:
        # A child of an earlier attempt says nothing about this one, unless it got as far as the bundle.
        launched = child is not None and child.attempt >= job.attempt
        if launched or (not job.progress_detail.get("fresh") and _only_publishing_left(folder)):
            return _settle(job, folder, lease, copy)
        try:
            child = _launch(job, lease)
        except UserError as error:
            return _finish(job, lease, JobStatus.FAILED, error=_card(error.code, error.message, error.hint))
        except launching.LauncherRefused as error:
            refused = say("The launcher refused the job: {error}", error=error)
            card = _card("launcher_refused", refused, say("Ask whoever runs this installation."))
            return _finish(job, lease, JobStatus.ERRORED, error=card)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            return _finish(job, lease, JobStatus.FAILED, error=DISK_FULL_CARD)
        if child is None:
            return _cancel_or_release(job, lease)
        services.job_launched(job=job, owner=lease.owner)
    _warm_up_later()
    if follow(job=job, folder=folder, child=child, lease=lease, mirror=copy) is Ended.WORKER:
        services.job_release(job=job, owner=lease.owner)
        return False
    return _settle(job, folder, lease, copy)


def _only_publishing_left(folder: JobFolder) -> bool:
    """Whether an earlier attempt finished its bundle, so that only publishing is left."""
    result = folder.result()
    if not result or result["outcome"] != "succeeded":
        return False
    # A batch prediction has files in place of a bundle.
    return result["bundle"] is None or (folder.path / result["bundle"]).is_dir()


def _launch(job: Job, lease: Lease) -> Child | None:
    """Start the child, waiting for a launcher or inputs that are away; None when a cancel or a stop comes first."""
    settings = devices.launch_settings(job.device.name if hasattr(job, "device") else "cpu:0")
    told = False
    message: str
    while True:
        try:
            child = launching.launch(context.prepare(job), attempt=job.attempt, **settings)
            for code in ("launcher_down", "inputs_away"):
                services.job_notice_withdraw(job=job, owner=lease.owner, code=code)
            return child
        except launching.LauncherUnavailable as error:
            logger.warning("Job %s: %s", job.public_id, error)
            code = "launcher_down"
            message = say("The launcher of this host does not answer; the job starts when it is back.")
        except Unavailable as error:
            logger.warning("Job %s: its inputs are not to be had: %s", job.public_id, error)
            code, message = "inputs_away", both(error.reason, say("The job starts when it is back."))
        if not told:
            services.job_notice(job=job, owner=lease.owner, code=code, message=message)
            told = True
        stopping.sleep(1.0)
        lease.check()
        if stopping.asked() or services.job_cancel_requested(job=job, owner=lease.owner):
            return None


def _cancel_or_release(job: Job, lease: Lease) -> bool:
    if services.job_cancel_requested(job=job, owner=lease.owner):
        return _finish(job, lease, JobStatus.CANCELLED)
    services.job_release(job=job, owner=lease.owner)
    return False


def _warm_up_later() -> None:
    timer = threading.Timer(WARM_UP_DELAY_S, _warm_up)
    timer.daemon = True
    timer.start()


def _warm_up() -> None:
    try:
        mirror.sink()
    except Exception as error:  # publishing itself will say it again, and louder
        logger.warning("MLflow's client could not be imported: %s", error)


# --- how it ended ---------------------------------------------------------------------------------------------------


def _settle(job: Job, folder: JobFolder, lease: Lease, copy: mirror.Mirror) -> bool:
    """Bring a job whose child is no more to its end, or back into the queue."""
    result = folder.result()
    cancelled = services.job_cancel_requested(job=job, owner=lease.owner)
    match result["outcome"] if result else "vanished":
        case "succeeded" if not cancelled:
            assert result is not None  # noqa: S101
            if job.kind == JobKind.PREDICT:
                return _deliver(job, folder, result, lease)
            return _publish(job, folder, result, lease, copy)
        case "failed" | "errored" as outcome if not cancelled:
            assert result is not None  # noqa: S101
            return _finish(job, lease, JobStatus(outcome), error=result["error"], copy=copy)
        case "succeeded" | "failed" | "errored" | "cancelled":
            return _finish(job, lease, JobStatus.CANCELLED, copy=copy)
        case "interrupted" if not cancelled:
            services.job_requeue(job=job, owner=lease.owner, reason=say("Stopped with a checkpoint"), crashed=False)
            return True
        case _ if cancelled:
            return _finish(job, lease, JobStatus.CANCELLED, copy=copy)
        case _:
            return _vanished(job, folder, lease, copy)


def _vanished(job: Job, folder: JobFolder, lease: Lease, copy: mirror.Mirror) -> bool:
    """The child left no result: it was killed, or its host went down."""
    if shutil.disk_usage(folder.path.parent).free < DISK_FULL_BYTES:
        return _finish(job, lease, JobStatus.FAILED, error=DISK_FULL_CARD, copy=copy)
    how = _how_it_died(folder.exit())
    reason = say("The process {how}; goes on from its checkpoint", how=how)
    if services.job_requeue(job=job, owner=lease.owner, reason=reason, crashed=True):
        return True
    card = _card(
        "process_died",
        say("The job's process {how}, {times} times.", how=how, times=services.MAX_CRASHES),
        say(
            "If the machine runs out of memory, choose a smaller batch or base model; "
            "the log may say more in its last lines."
        ),
    )
    return _finish(job, lease, JobStatus.ERRORED, error=card, copy=copy)


def _how_it_died(exit_: dict[str, Any] | None) -> str:
    if exit_ is None or exit_.get("returncode") is None:
        return say("ended without a word")
    if exit_["signal"]:
        return say("was killed by signal {name}", name=signal.Signals(exit_["signal"]).name)
    return say("ended with status {status}", status=exit_["returncode"])


def _publish(job: Job, folder: JobFolder, result: dict[str, Any], lease: Lease, copy: mirror.Mirror) -> bool:
    job.progress_detail["bundle"] = result["bundle"]
    try:
        version = publishing.publish(job=job, folder=folder, result=result, lease=lease, copy=copy)
    except publishing.Interrupted:
        return _cancel_or_release(job, lease)
    except UserError as error:
        return _finish(job, lease, JobStatus.FAILED, error=_card(error.code, error.message, error.hint), copy=copy)
    except SinkRefused as error:
        refused = say("MLflow refused the model: {error}", error=error)
        card = _card("mlflow_refused", refused, say("Ask whoever runs this installation."))
        return _finish(job, lease, JobStatus.ERRORED, error=card, copy=copy)
    services.job_finish(
        job=job,
        owner=lease.owner,
        status=JobStatus.SUCCEEDED,
        reason=say("Published as {ref}", ref=version.ref),
        metrics=result["metrics"],
        metrics_split=result["metrics_split"],
        published=version,
    )
    return True


def _deliver(job: Job, folder: JobFolder, result: dict[str, Any], lease: Lease) -> bool:
    """End a batch prediction: its files are there; a dataset is made of them where one was asked for."""
    if job.spec.get("save_as"):
        delivering.dataset_make(job=job, folder=folder, lease=lease)
    services.job_finish(
        job=job,
        owner=lease.owner,
        status=JobStatus.SUCCEEDED,
        reason=say("Answered {rows} rows", rows=int(result["metrics"]["rows"])),
        metrics=result["metrics"],
        progress_detail=job.progress_detail,
    )
    return True


def _finish(
    job: Job,
    lease: Lease,
    status: JobStatus,
    *,
    error: dict[str, Any] | None = None,
    copy: mirror.Mirror | None = None,
) -> bool:
    reason = unpack(error["message"]) if error else say("Cancelled by request")
    services.job_finish(job=job, owner=lease.owner, status=status, reason=reason, error=pack(error))
    if copy is not None and copy.run_id:
        try:
            mirror.sink().run_close(copy.run_id, "killed" if status == JobStatus.CANCELLED else "failed")
        except (SinkUnavailable, SinkRefused) as refusal:
            logger.info("Job %s: MLflow was not told of the end, %s", job.public_id, refusal)
    return True
