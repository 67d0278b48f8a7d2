"""The first batch of a training that has not started: asked for here, made by a worker, read from files.

The web holds no tokenizer and no collator. It writes what would be trained into a folder named after it, sends a
message that names the folder, and shows what the child leaves there. The same plan finds the same folder, so that
nothing is made twice; folders of yesterday are swept.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.utils.translation import gettext as _

from apps.core.wording import told
from apps.jobs import queue
from apps.jobs.models import JobKind
from apps.jobs.plans import Plan
from modelkit.jobfolder import JobFolder, read_json, write_json

PREFIX = "preview-"
REQUEST = "request.json"
#: A preview that failed for a reason of the platform is tried again after this long.
RETRY_S = 20.0
#: After this the page says that nobody answers; it goes on asking.
PATIENCE_S = 30.0
KEPT_S = 24 * 3600.0


@dataclass(frozen=True)
class FirstBatch:
    """`content` is the artifact `first_batch` once `state` is ready; `message` says what is missing before."""

    state: Literal["ready", "waiting", "failed"]
    content: dict[str, Any] | None = None
    message: str = ""


def folder_of(key: str) -> JobFolder:
    return JobFolder(Path(settings.JOBS_DIR) / f"{PREFIX}{key}")


def first_batch(plan: Plan) -> FirstBatch | None:
    """The first batch of a plan; asks a worker for it where there is none. None for what has no first batch."""
    if plan.kind != JobKind.TRAIN or not plan.spec:
        return None
    names = ("task", "params", "model_name", "seed", "dataset", "base_model", "code_version")
    spec = {"kind": "preview", **{name: plan.spec[name] for name in names}}
    # The same rows under another model name or seed of the head are the same batch to look at.
    spec["model_name"] = ""
    key = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:24]
    folder = folder_of(key)
    content = read_json(folder.artifacts_path / "first_batch.json")
    result = folder.result()
    if content is not None and result is not None:
        return FirstBatch("ready", content)
    if result is not None and result.get("outcome") != "succeeded":
        error = told(result.get("error") or {})
        if result.get("outcome") == "failed" or _age_s(folder.result_path) < RETRY_S:
            return FirstBatch("failed", message=f"{error.get('message', '')} {error.get('hint', '')}".strip())
        shutil.rmtree(folder.path, ignore_errors=True)
    request = folder.path / REQUEST
    if not request.is_file():
        folder.path.mkdir(parents=True, exist_ok=True)
        write_json(request, spec)
        queue.send(queue.JOB_PREVIEW, key, expires_s=60.0)
    elif _age_s(request) > PATIENCE_S:
        if folder.child() is None:
            # The message may have been lost with the broker, or have expired while every worker was busy.
            write_json(request, spec)
            queue.send(queue.JOB_PREVIEW, key, expires_s=60.0)
        return FirstBatch("waiting", message=_("No worker has answered yet; starting does not depend on it."))
    return FirstBatch("waiting", message=_("The worker is tokenizing your rows."))


def previews_forget() -> int:
    """Remove the folders of previews that nobody has looked for since yesterday; returns how many."""
    removed = 0
    for path in Path(settings.JOBS_DIR).glob(f"{PREFIX}*"):
        if _age_s(path / REQUEST) > KEPT_S:
            shutil.rmtree(path, ignore_errors=True)
            removed += 1
    return removed


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")
