"""Copies of answered requests to a shadow revision, and where it answers otherwise.

A copy is sent after the caller has its answer, and nobody waits for it: no more than a few are on their way at a time,
what comes meanwhile is dropped and counted. What was compared is written, every few seconds, as one file of a batch,
which the control plane takes in and removes; when it does not, counts wait in memory and examples are let go.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from modelkit.serving.asked import unpack_inputs
from modelkit.serving.front.aside import Aside
from modelkit.serving.front.links import Link
from modelkit.serving.front.table import Endpoint, Target
from modelkit.serving.picks import label_indices, label_scores
from modelkit.serving.wire import Ask, Reply, Status

logger = logging.getLogger("modelkit.serving.front")

MAX_IN_FLIGHT = 8
COPY_TIMEOUT_S = 20.0
FLUSH_EVERY_S = 2.0
#: Files that wait for the control plane; then no further ones are written.
MAX_FILES = 200
#: Examples kept of one pair of revisions between two files.
MAX_EXAMPLES = 100
MAX_LABEL_PAIRS = 4096
MAX_INPUT_CHARS = 1000

_NONE: set[Link] = set()
_PairKey = tuple[str, str, int, int]


class _Pair:
    """What was compared of two revisions since the last file."""

    __slots__ = ("agreed", "compared", "dropped", "examples", "failed", "labels", "sent")

    def __init__(self) -> None:
        self.sent = self.dropped = self.failed = 0
        self.compared = self.agreed = 0
        self.labels: dict[tuple[str, str], int] = {}
        self.examples: list[dict[str, Any]] = []


class Mirror:
    """See the module. All but the files is looked after on the event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pairs: dict[_PairKey, _Pair] = {}
        self._in_flight: dict[tuple[str, str], int] = {}
        self._flushed_at = 0.0
        self._writing = Aside()
        self._batch = 0
        self._prefix = f"{time.time_ns():020d}-{os.getpid()}"

    def offer(self, endpoint: Endpoint, champion: Target, payload: bytes, picks: bytes, request_id: str) -> None:
        """Copy a request that has been answered, if it is drawn and there is room."""
        shadow = endpoint.shadow
        if shadow is None or not picks or random.random() * 100 >= shadow.revision.shadow:  # noqa: S311  a share
            return
        where = (endpoint.workspace, endpoint.name)
        pair = self._pair((*where, champion.revision.number, shadow.revision.number))
        flying = self._in_flight.get(where, 0)
        if flying >= MAX_IN_FLIGHT:
            pair.dropped += 1
            return
        link = shadow.link(_NONE)
        if link is None:
            return
        self._in_flight[where] = flying + 1
        pair.sent += 1
        copy = Copy(self, endpoint, champion, shadow, payload, picks, request_id)
        link.send(Ask.PREDICT, payload, copy)

    def ended(self, copy: Copy, reply: Reply | None) -> None:
        """A copy has its reply, or will never get one."""
        where = (copy.endpoint.workspace, copy.endpoint.name)
        flying = self._in_flight.pop(where) - 1
        if flying:
            self._in_flight[where] = flying
        pair = self._pair((*where, copy.champion.revision.number, copy.shadow.revision.number))
        if reply is None or reply.status is not Status.OK or len(reply.picks) != len(copy.picks):
            pair.failed += 1
            return
        mine, theirs = copy.champion.revision.labels, copy.shadow.revision.labels
        differing: list[int] = []
        answers = zip(label_indices(copy.picks), label_indices(reply.picks), strict=True)
        for i, (index, other) in enumerate(answers):
            labels = (mine[index], theirs[other])
            pair.compared += 1
            if labels in pair.labels or len(pair.labels) < MAX_LABEL_PAIRS:
                pair.labels[labels] = pair.labels.get(labels, 0) + 1
            if labels[0] == labels[1]:
                pair.agreed += 1
            else:
                differing.append(i)
        room = MAX_EXAMPLES - len(pair.examples)
        if differing and room:
            pair.examples += _examples(copy, reply, differing[:room])

    def flush(self) -> None:
        """Called about once a second: have what has gathered written, unless a thread still writes."""
        now = time.monotonic()
        if self._pairs and now - self._flushed_at >= FLUSH_EVERY_S and not self._writing.busy:
            self._flushed_at = now
            self._writing.start(self._flush())

    async def close(self) -> None:
        """Write what is left; the process ends."""
        await self._writing.finished()
        await self._flush()

    # --- inside ---

    def _pair(self, key: _PairKey) -> _Pair:
        found = self._pairs.get(key)
        if found is None:
            found = self._pairs[key] = _Pair()
        return found

    async def _flush(self) -> None:
        # Looked at first: where there is no room, what has gathered stays.
        if await asyncio.to_thread(self._has_room) and self._pairs:
            await asyncio.to_thread(self._write, *self._take())

    def _has_room(self) -> bool:
        try:
            return sum(1 for _ in self._folder.iterdir()) < MAX_FILES
        except FileNotFoundError:
            return True

    def _take(self) -> tuple[Path, bytes]:
        pairs, self._pairs = self._pairs, {}
        rows = [
            {
                "workspace": workspace, "name": name, "champion": champion, "challenger": challenger,
                "sent": pair.sent, "dropped": pair.dropped, "failed": pair.failed,
                "compared": pair.compared, "agreed": pair.agreed,
                "labels": [[*labels, count] for labels, count in pair.labels.items()],
                "examples": pair.examples,
            }
            for (workspace, name, champion, challenger), pair in pairs.items()
        ]  # fmt: skip
        self._batch += 1
        return self._folder / f"{self._prefix}-{self._batch:06d}.json", orjson.dumps({"pairs": rows})

    def _write(self, path: Path, content: bytes) -> None:
        try:
            path.parent.mkdir(exist_ok=True)
            # Renamed when whole: whoever takes the files in sees no half of one.
            waiting = path.with_suffix(".part")
            waiting.write_bytes(content)
            waiting.replace(path)
        except OSError as error:
            logger.error("What the shadow answered cannot be written and is lost: %s", error)


class Copy:
    """A request on its way to the shadow."""

    __slots__ = ("_mirror", "champion", "deadline", "endpoint", "payload", "picks", "request_id", "shadow")

    def __init__(
        self,
        mirror: Mirror,
        endpoint: Endpoint,
        champion: Target,
        shadow: Target,
        payload: bytes,
        picks: bytes,
        request_id: str,
    ) -> None:
        self._mirror = mirror
        self.endpoint = endpoint
        self.champion = champion
        self.shadow = shadow
        self.payload = payload
        self.picks = picks
        self.request_id = request_id
        self.deadline = time.monotonic() + COPY_TIMEOUT_S

    def replied(self, reply: Reply) -> None:
        self._mirror.ended(self, reply)

    def lost(self, *, connected: bool) -> None:
        self._mirror.ended(self, None)

    def timed_out(self) -> None:
        self._mirror.ended(self, None)

    def failed(self) -> None:
        """It was counted out before anything could fail; nobody waits for what could not be compared."""


def _examples(copy: Copy, reply: Reply, places: Sequence[int]) -> list[dict[str, Any]]:
    """Of the inputs at `places`. The request is parsed once, however many of its inputs differ."""
    inputs = unpack_inputs(copy.payload)[0] if copy.endpoint.shadow_inputs else None
    sides = {"champion": (copy.champion, copy.picks), "challenger": (copy.shadow, reply.picks)}
    told = {
        side: (target.revision.labels, label_indices(picks), label_scores(picks))
        for side, (target, picks) in sides.items()
    }
    return [
        {
            "at": time.time(),
            "request_id": copy.request_id,
            "input": _text(inputs[i]) if inputs is not None else None,
            **{
                side: {"label": labels[indices[i]], "score": scores[i]}
                for side, (labels, indices, scores) in told.items()
            },
        }
        for i in places
    ]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text[:MAX_INPUT_CHARS]
