"""Server-sent events of one job: what its child writes, as it writes it. Each holds a thread, hence the limits."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Iterator

from django.http import StreamingHttpResponse
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _

from apps.core.errors import Unavailable
from apps.core.wording import told
from apps.jobs.models import Job, JobStatus
from apps.jobs.selectors.folders import folder_of

POLL_S = 0.5
KEEP_ALIVE_S = 10.0
#: A browser's EventSource connects again by itself, with the last id; so no stream holds its thread for long.
LONGEST_S = 120.0
AT_ONCE = 6

_slots = threading.BoundedSemaphore(AT_ONCE)


def event_stream(job: Job, *, after: int) -> StreamingHttpResponse:
    """Events from byte `after` on; each `id` is the offset to go on from. Ends with `status` when the job has ended."""
    if not _slots.acquire(blocking=False):
        raise Unavailable(
            _("Too many live streams are open."),
            code="too_many_streams",
            hint=_("Ask for /jobs/{id} every few seconds instead."),
        )
    response = StreamingHttpResponse(_Stream(job, after), content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


class _Stream:
    """The iterator behind the response; its `close` gives the slot back whether or not it was ever read."""

    def __init__(self, job: Job, after: int) -> None:
        # Blocks are made after the middleware has left: the language of the request is kept for them.
        self._events = _events(job, after, get_language() or "en")
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        return self._events

    def close(self) -> None:
        self._events.close()
        if self._open:
            self._open = False
            _slots.release()


def _events(job: Job, offset: int, language: str) -> Generator[bytes, None, None]:
    folder = folder_of(job)
    started = spoke = time.monotonic()
    status = ""
    yield b"retry: 1000\n\n"
    while time.monotonic() - started < LONGEST_S:
        job.refresh_from_db(fields=["status", "phase", "progress"])
        events, following = folder.read_events(offset)
        offset = following
        for event in events:
            with override(language):
                worded = told(event)
            yield _message(event["type"], worded, offset)
        if job.status != status:
            status = job.status
            yield _message("status", {"status": status, "phase": job.phase, "progress": job.progress}, offset)
        if JobStatus(status).is_final and not events:
            return
        if events:
            spoke = time.monotonic()
        elif time.monotonic() - spoke > KEEP_ALIVE_S:
            spoke = time.monotonic()
            yield b": still here\n\n"
        time.sleep(POLL_S)


def _message(name: str, data: object, offset: int) -> bytes:
    return f"id: {offset}\nevent: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
