"""Makes the first batch of a training that has not started, in a child of the launcher like a job's."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from django.conf import settings

from apps.core import storage
from apps.jobs import previews, queue
from modelkit.jobfolder import JobFolder, read_json, write_json
from modelkit.wording import pack, say
from workers import devices, launching, stopping
from workers.app import app
from workers.guard import guarded

logger = logging.getLogger(__name__)

#: Tokenizing a million rows takes less; what takes longer hangs.
LIMIT_S = 180.0


@app.task(name=queue.JOB_PREVIEW)
@guarded
def preview(key: str) -> None:
    """Write `first_batch` and a result into the preview's folder; a second message for the same one changes nothing."""
    folder = previews.folder_of(key)
    spec = read_json(folder.path / previews.REQUEST)
    if spec is None or folder.result() is not None:
        return
    dataset = dict(spec["dataset"])
    spec["dataset"] = dataset | {"path": str(storage.local_dir(dataset.pop("prefix")))}
    folder.create(spec)
    try:
        settings_ = devices.launch_settings("cpu:0") | {"threads": 1}
        child = launching.launch(folder, attempt=1, **settings_)
    except (launching.LauncherUnavailable, launching.LauncherRefused) as error:
        _fail(folder, say("The launcher of this host does not answer: {error}", error=str(error)))
        return
    until = time.monotonic() + LIMIT_S
    while child.alive and time.monotonic() < until and not stopping.asked():
        time.sleep(0.05)
    if child.alive:
        launching.kill(folder, child)
    if folder.result() is None:
        _fail(folder, say("The first batch could not be made in time."))


def _fail(folder: JobFolder, message: str) -> None:
    logger.warning("Preview %s: %s", folder.path.name, message)
    if Path(settings.JOBS_DIR) in folder.path.parents and folder.path.is_dir():
        error = {"code": "preview_failed", "message": pack(message), "hint": "", "traceback": ""}
        write_json(folder.result_path, {"outcome": "errored", "error": error})
