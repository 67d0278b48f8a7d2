"""The sampled request log as the front keeps it: a few references per sampled request, the rest in another thread.

`take` is called after the answer has been written, on the event loop. About once a second a thread parses, redacts and
appends what was taken to segment files (`modelkit.serving.segments`), which the control plane imports. What does not
fit into memory or onto the disk is dropped and counted; nothing here can slow or fail a request.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from modelkit.serving.asked import unpack_inputs
from modelkit.serving.front.aside import Aside
from modelkit.serving.picks import label_indices, label_scores
from modelkit.serving.plan import Route, RouteRevision
from modelkit.serving.redaction import Redactor
from modelkit.serving.segments import SegmentWriter
from modelkit.serving.wire import Cost, Reply

if TYPE_CHECKING:
    from modelkit.serving.front.request import Request
    from modelkit.serving.front.table import Endpoint

logger = logging.getLogger("modelkit.serving.front")

#: What may wait for the writer. Large requests are kept without their inputs, since parsing them takes the processor.
MAX_WAITING = 1000
MAX_WAITING_BYTES = 4_000_000
MAX_PAYLOAD_BYTES = 256_000
MAX_OUTPUTS = 256

EndpointKey = tuple[str, str]


class Sampler:
    """How one endpoint is sampled, made once per routing table."""

    __slots__ = ("rate", "redactor")

    def __init__(self, route: Route) -> None:
        self.rate = route.sampling.rate
        self.redactor = Redactor(route.sampling)


class _Taken(NamedTuple):
    """A sampled request as it was, before redaction. Never leaves this process so."""

    endpoint: EndpointKey
    redactor: Redactor
    revision: RouteRevision
    request_id: str
    authorization: bytes
    at: float
    total_ms: float
    status: int
    items: int
    payload: bytes
    body: bytes
    picks: bytes
    cost: Cost


class Samples:
    """See the module. `taken` and `dropped` count per endpoint since the front started."""

    def __init__(self, folder: Path) -> None:
        self._writer = SegmentWriter(folder)
        self._waiting: list[_Taken] = []
        self._waiting_bytes = 0
        self._writing = Aside()
        self._complained_at = 0.0
        self.taken: Counter[EndpointKey] = Counter()
        self.dropped: Counter[EndpointKey] = Counter()

    def take(
        self,
        endpoint: Endpoint,
        revision: RouteRevision,
        request: Request,
        status: int,
        items: int,
        payload: bytes,
        reply: Reply,
    ) -> None:
        """Keep an answered request for the next `flush`; where the endpoint keeps none or all is full, do not."""
        sampler = endpoint.sampler
        if sampler is None:
            return
        key = (endpoint.workspace, endpoint.name)
        if len(payload) > MAX_PAYLOAD_BYTES:
            payload = b""
        body = reply.body if len(reply.body) <= MAX_PAYLOAD_BYTES else b""
        size = len(payload) + len(body)
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES:
            self.dropped[key] += 1
            return
        self._waiting_bytes += size
        self._waiting.append(
            _Taken(
                key, sampler.redactor, revision, request.request_id, request.headers.get(b"authorization", b""),
                time.time(), (time.perf_counter() - request.complete_at) * 1000, status, items,
                payload, body, reply.picks, reply.cost,
            )
        )  # fmt: skip

    def flush(self) -> None:
        """Have what was taken written, unless the thread still writes. Call it on the event loop."""
        if self._writing.busy or not (self._waiting or self._writer.due):
            return
        batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
        self._writing.start(asyncio.to_thread(self.write, batch))

    async def close(self) -> None:
        """Write the rest and let the importer have it."""
        await self._writing.finished()
        self.flush()
        await self._writing.finished()
        self._writer.close()

    def write(self, batch: list[_Taken]) -> None:
        """In a thread: parse, redact and append. Raises nothing."""
        lines, owners = [], []
        for taken in batch:
            try:
                lines.append(orjson.dumps(_line(taken)) + b"\n")
                owners.append(taken.endpoint)
            except Exception as error:  # one request that cannot be understood must not cost the others
                self._drop([taken.endpoint], error)
            # Let the event loop have the interpreter: one sample is the longest that it waits.
            time.sleep(0)
        try:
            if lines:
                self._writer.append(b"".join(lines))
                self.taken.update(owners)
            elif self._writer.due:
                self._writer.close()
        except OSError as error:
            self._drop(owners, error)

    def _drop(self, endpoints: list[EndpointKey], error: Exception) -> None:
        self.dropped.update(endpoints)
        if time.monotonic() - self._complained_at > 60:
            self._complained_at = time.monotonic()
            # Not the message of a parser: it may quote the input.
            reason = error if isinstance(error, OSError) else type(error).__name__
            logger.warning("Samples of requests are dropped: %s", reason)

    def keep(self, endpoints: Iterable[EndpointKey]) -> None:
        """Forget the counts of endpoints that are gone."""
        kept = set(endpoints)
        for counts in (self.taken, self.dropped):
            for key in [key for key in list(counts) if key not in kept]:
                counts.pop(key, None)

    def prometheus(self, workspace: str | None) -> list[str]:
        """Lines of the text exposition format; of one workspace unless None."""
        lines = [
            "# HELP tuneyard_serving_samples_total Requests of the sampled log, written or dropped for want of room.",
            "# TYPE tuneyard_serving_samples_total counter",
        ]
        for outcome, counts in (("written", self.taken), ("dropped", self.dropped)):
            for (owner, name), count in sorted(counts.copy().items()):
                if workspace is None or owner == workspace:
                    labels = f'workspace="{owner}",endpoint="{name}",outcome="{outcome}"'
                    lines.append(f"tuneyard_serving_samples_total{{{labels}}} {count}")
        return lines


def _line(taken: _Taken) -> dict[str, Any]:
    """What is written of a sample; the key that asked only as its hash, as the routing table has it."""
    inputs = taken.redactor.inputs(unpack_inputs(taken.payload)[0]) if taken.payload else []
    outputs: list[dict[str, Any]] = []
    error = ""
    if taken.status == 200:
        outputs = _outputs(taken) if taken.body else []
    else:
        error = taken.body.decode(errors="replace")[:100]
    bearer = taken.authorization[7:].strip()
    return {
        "id": os.urandom(16).hex(),
        "workspace": taken.endpoint[0],
        "endpoint": taken.endpoint[1],
        "revision": taken.revision.number,
        "model": taken.revision.model,
        "request_id": taken.request_id,
        "key": hashlib.sha256(bearer).hexdigest() if bearer else "",
        "at": taken.at,
        "status": taken.status,
        "error": error,
        "items": taken.items,
        "inputs": inputs,
        "outputs": outputs,
        "total_ms": taken.total_ms,
        "cost": list(taken.cost),
    }


def _outputs(taken: _Taken) -> list[dict[str, Any]]:
    try:
        rows = _rows(orjson.loads(taken.body), taken.revision.labels)
    except orjson.JSONDecodeError:  # binary tensors, of which label and score are known all the same
        picked = zip(label_indices(taken.picks), label_scores(taken.picks), strict=True)
        rows = [{"label": taken.revision.labels[index], "score": score} for index, score in picked]
    return taken.redactor.outputs(rows[:MAX_OUTPUTS])


def _rows(reply: list[dict[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Outputs one by one, also where the runner answered in the tensors of the Open Inference Protocol."""
    if not reply or "embedding" in reply[0]:  # vectors are not looked at one by one
        return []
    if "datatype" not in reply[0]:
        return reply
    data = {tensor["name"]: tensor["data"] for tensor in reply}
    rows = [{"label": label, "score": score} for label, score in zip(data["label"], data["score"], strict=True)]
    width = len(labels)
    for i, row in enumerate(rows) if "scores" in data else ():
        row["scores"] = dict(zip(labels, data["scores"][i * width : (i + 1) * width], strict=True))
    return rows
