"""`FolderReporter`: the Reporter of a running job, writing events into its job folder. Light.

Every event is one unbuffered append of a whole line: a kill loses nothing that was reported, and costs some
microseconds an event. Progress is thinned, since a step may last a millisecond.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from modelkit.jobfolder import JobFolder
from modelkit.wording import pack

#: Progress events closer together than this are dropped, except the last of a phase.
PROGRESS_INTERVAL_S = 0.25


class FolderReporter:
    """Implements `modelkit.contracts.Reporter`. Knows the folder's layout and no database."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._cancel_path = os.fspath(folder.cancel_path)
        self._events = os.open(folder.events_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._progress_at = -math.inf
        self._stop_signalled = False
        self._mend_torn_line()

    def _mend_torn_line(self) -> None:
        # A child killed in the middle of a write leaves half a line, which would swallow the next event.
        with self._folder.events_path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if file.read(1) not in (b"", b"\n"):
                os.write(self._events, b"\n")

    def _emit(self, type_: str, *, durable: bool = False, **fields: Any) -> None:
        event = {"t": round(time.time(), 4), "type": type_, **{k: v for k, v in fields.items() if v is not None}}
        os.write(self._events, json.dumps(event, ensure_ascii=False).encode() + b"\n")
        if durable:
            os.fsync(self._events)

    def attempt(self, number: int) -> None:
        """A child starts; what follows is its doing."""
        self._emit("attempt", number=number)

    def phase(self, name: str) -> None:
        self._progress_at = -math.inf
        self._emit("phase", name=name)

    def progress(
        self,
        fraction: float,
        *,
        step: int | None = None,
        steps: int | None = None,
        epoch: float | None = None,
        epochs: int | None = None,
        rows_per_s: float | None = None,
        eta_s: float | None = None,
    ) -> None:
        now = time.monotonic()
        if now - self._progress_at < PROGRESS_INTERVAL_S and fraction < 1 and (step is None or step != steps):
            return
        self._progress_at = now
        fraction = min(1.0, max(0.0, fraction)) if math.isfinite(fraction) else 0.0
        self._emit(
            "progress",
            fraction=round(fraction, 5),
            step=step,
            steps=steps,
            epoch=epoch,
            epochs=epochs,
            rows_per_s=rows_per_s,
            eta_s=eta_s,
        )

    def metrics(
        self, values: Mapping[str, float], *, step: int, epoch: float | None = None, split: str = "train"
    ) -> None:
        # JSON knows no NaN; a number that is none is left out rather than written as something else.
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        self._emit("metrics", split=split, step=step, epoch=epoch, values=finite)

    def artifact(self, name: str, path: Path, *, kind: str) -> None:
        self._emit("artifact", name=name, kind=kind, path=self._relative(path))

    def checkpoint(self, path: Path, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        self._emit("checkpoint", durable=True, path=self._relative(path), step=step, epoch=epoch, values=finite)

    def notice(self, code: str, message: str, *, level: Literal["info", "warning"] = "info") -> None:
        self._emit("notice", level=level, code=code, message=pack(message))

    def resources(self, *, peak_memory_bytes: int, elapsed_s: float, disk_bytes: int) -> None:
        """What the attempt cost; compared with the prediction on the job's page."""
        self._emit(
            "resources",
            durable=True,
            peak_memory_bytes=peak_memory_bytes,
            elapsed_s=round(elapsed_s, 3),
            disk_bytes=disk_bytes,
        )

    def usage(self, *, memory_bytes: int, peak_memory_bytes: int, disk_bytes: int) -> None:
        """What the attempt takes at this moment, with the peak so far."""
        self._emit("usage", memory_bytes=memory_bytes, peak_memory_bytes=peak_memory_bytes, disk_bytes=disk_bytes)

    def should_stop(self) -> bool:
        return self._stop_signalled or os.path.exists(self._cancel_path)  # noqa: PTH110 - looked at every step

    def stop_on(self, *signals: signal.Signals) -> None:
        """Let these signals count as a request to checkpoint and stop."""

        def stop(*_: object) -> None:
            self._stop_signalled = True

        for number in signals:
            signal.signal(number, stop)

    def _relative(self, path: Path) -> str:
        try:
            return Path(path).resolve().relative_to(self._folder.path.resolve()).as_posix()
        except ValueError:
            return os.fspath(path)
