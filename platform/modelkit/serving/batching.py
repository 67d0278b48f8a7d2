"""Batching that waits for nobody: what is queued when a slot is free is the next batch.

Each slot is a thread that runs one batch at a time and takes its share of what is at hand, no more: the texts of one
request are computed in all slots at once, and none runs a large batch while another runs single texts. A request larger
than a batch is cut and takes turns with the others, so that it cannot hold them up. A lone caller's request runs on the
event loop's own thread, which saves it two wake-ups. The queue is bounded by the time it would take. Does not know
sockets or tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

logger = logging.getLogger(__name__)

#: What the queue may hold, in seconds of work at the rate seen lately, and in inputs whatever the rate.
MAX_WAIT_S = 0.5
_LEAST_QUEUE, _MOST_QUEUE = 64, 1024
#: The rate is that of the last finished batches, older ones counting less.
_RATE_MEMORY = 0.9
#: A request that follows the last answer sooner than its caller could have sent it has waited behind it.
_COMPANY_S = 50e-6
#: So many requests in a row without company make a lone caller.
_ALONE_AFTER = 16
#: A model slower than this does not run on the loop: the runner must go on hearing its probes.
_INLINE_MAX_S = 0.02


class Model(Protocol):
    """The part of `modelkit.contracts.Predictor` that a batch needs."""

    def preprocess(self, inputs: Sequence[Any]) -> Any: ...

    def token_counts(self, batch: Any) -> Sequence[int]: ...

    def uncut_token_counts(self, inputs: Sequence[Any]) -> Sequence[int]: ...

    def forward(self, batch: Any) -> Any: ...

    def postprocess(self, raw: Any, *, scores: bool = True) -> list[dict[str, Any]]: ...


class InvalidInput(ValueError):
    """The caller's input cannot be preprocessed; the message says why."""


@dataclass(slots=True)
class Answer:
    """The outputs of one request, in the order of its inputs, or the error that ended it."""

    outputs: list[Any] = field(default_factory=list)
    error: Exception | None = None
    queue_ms: float = 0.0
    preprocess_ms: float = 0.0
    model_ms: float = 0.0
    batch: int = 0
    tokens: int = 0


@dataclass(slots=True)
class _Request:
    inputs: Sequence[Any]
    scores: bool
    done: Callable[[Answer], None]
    queued_at: float
    answer: Answer
    max_tokens: int = 0
    taken: int = 0
    finished: int = 0


@dataclass(slots=True)
class _Part:
    request: _Request
    start: int
    stop: int

    @property
    def inputs(self) -> Sequence[Any]:
        return self.request.inputs[self.start : self.stop]


@dataclass(slots=True)
class _Result:
    """What a run gave; `tokens` is by input."""

    outputs: Sequence[Any] = ()
    error: Exception | None = None
    preprocess_ms: float = 0.0
    model_ms: float = 0.0
    batch: int = 0
    tokens: Sequence[int] = ()


class Batcher:
    """Runs `model` over queued inputs in `slots` threads. All methods belong to the event loop's thread."""

    def __init__(self, model: Model, *, slots: int, max_batch: int = 16) -> None:
        self._model = model
        self._max_batch = max_batch
        self._queue: deque[_Request] = deque()
        self._queued = self._computing = 0
        self._slots = self._free = slots
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="slot")
        self._loop = asyncio.get_running_loop()
        self._s_per_input = 0.0
        self._alone = 0
        self._ended_at = 0.0
        self._running: dict[int, float] = {}
        self.in_flight = 0

    @property
    def queued_inputs(self) -> int:
        return self._queued

    @property
    def max_queue(self) -> int:
        """Inputs that may wait: what `MAX_WAIT_S` of work are at the present rate; the least while that is unknown."""
        if not self._s_per_input:
            return _LEAST_QUEUE
        return min(_MOST_QUEUE, max(_LEAST_QUEUE, int(MAX_WAIT_S * self._slots / self._s_per_input)))

    @property
    def oldest_run_s(self) -> float:
        """How long the oldest batch has been running; a model that hangs is known by it."""
        now = time.perf_counter()
        return now - min(list(self._running.values()), default=now)

    def submit(
        self, inputs: Sequence[Any], done: Callable[[Answer], None], *, scores: bool = True, max_tokens: int = 0
    ) -> bool:
        """Queue a request; `done` is called once, on the loop. False when the queue is full (then nothing is kept).

        `scores`: whether the answer should hold every class's probability. With `max_tokens` an input that has more
        is an InvalidInput, else it is cut by the model.
        """
        # What is ahead counts, not the request itself: the front has limited that already.
        if self._queued >= self.max_queue:
            return False
        now = time.perf_counter()
        answer = Answer(outputs=[None] * len(inputs))
        self._queue.append(_Request(inputs, scores, done, now, answer, max_tokens))
        self._queued += len(inputs)
        self.in_flight += 1
        self._alone = self._alone + 1 if self.in_flight == 1 and now - self._ended_at > _COMPANY_S else 0
        if self._alone > _ALONE_AFTER and len(inputs) == 1 and self._s_per_input < _INLINE_MAX_S:
            self._free -= 1
            parts = self._take()
            self._finish(parts, self._run(parts))
        else:
            self._pump()
        return True

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _pump(self) -> None:
        while self._free and self._queue:
            parts = self._take()
            self._free -= 1
            self._pool.submit(self._run_and_report, parts)

    def _take(self) -> list[_Part]:
        parts: list[_Part] = []
        share = -(-(self._queued + self._computing) // self._slots)
        room = min(self._max_batch, share)
        now = time.perf_counter()
        while room and self._queue:
            request = self._queue.popleft()
            if request.taken == 0:
                request.answer.queue_ms = (now - request.queued_at) * 1000
            stop = min(len(request.inputs), request.taken + room)
            parts.append(_Part(request, request.taken, stop))
            room -= stop - request.taken
            self._queued -= stop - request.taken
            self._computing += stop - request.taken
            request.taken = stop
            if stop < len(request.inputs):
                self._queue.append(request)
                break
        return parts

    def _run_and_report(self, parts: list[_Part]) -> None:
        results = self._run(parts)
        # The loop is closed when the process ends while a batch still computes; nobody waits for it then.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._finish, parts, results)

    def _run(self, parts: list[_Part]) -> list[_Result]:
        """In a slot's thread, or the loop's. A batch that fails is run again by request: only the guilty one fails."""
        slot = threading.get_ident()
        self._running[slot] = time.perf_counter()
        try:
            return self._results(parts)
        except Exception as error:  # a predictor's own fault must not cost the slot, nor leave its callers waiting
            logger.exception("A batch of %d requests failed.", len(parts))
            return [_Result(error=error) for _ in parts]
        finally:
            del self._running[slot]

    def _results(self, parts: list[_Part]) -> list[_Result]:
        scores = any(part.request.scores for part in parts)
        if any(part.request.max_tokens for part in parts):
            too_long = [self._too_long(part) for part in parts]
            if any(too_long):
                return [
                    _Result(error=error) if error else self._forward(part.inputs, scores=scores)
                    for part, error in zip(parts, too_long, strict=True)
                ]
        if len(parts) == 1:
            return [self._forward(parts[0].inputs, scores=scores)]
        result = self._forward([value for part in parts for value in part.inputs], scores=scores)
        if result.error is not None:
            return [self._forward(part.inputs, scores=scores) for part in parts]
        results, start = [], 0
        for part in parts:
            count = part.stop - part.start
            mine = slice(start, start + count)
            results.append(replace(result, outputs=result.outputs[mine], tokens=result.tokens[mine]))
            start += count
        return results

    def _too_long(self, part: _Part) -> InvalidInput | None:
        limit = part.request.max_tokens
        if not limit:
            return None
        try:
            counts = self._model.uncut_token_counts(part.inputs)
        except ValueError:
            return None  # no valid input at all, which preprocessing says
        for place, count in enumerate(counts, part.start):
            if count > limit:
                return InvalidInput(f"inputs[{place}] has {count} tokens; this endpoint takes at most {limit}.")
        return None

    def _forward(self, inputs: Sequence[Any], *, scores: bool) -> _Result:
        begun = time.perf_counter()
        try:
            batch = self._model.preprocess(inputs)
        except ValueError as error:
            return _Result(error=InvalidInput(str(error)))
        except Exception as error:
            logger.exception("Preprocessing %d inputs failed.", len(inputs))
            return _Result(error=error)
        ready = time.perf_counter()
        try:
            outputs = self._model.postprocess(self._model.forward(batch), scores=scores)
            if len(outputs) != len(inputs):
                raise RuntimeError(f"The predictor gave {len(outputs)} answers for {len(inputs)} inputs.")
            model_ms = (time.perf_counter() - ready) * 1000
            tokens = self._model.token_counts(batch)
        except Exception as error:
            logger.exception("A batch of %d inputs failed.", len(inputs))
            return _Result(error=error)
        preprocess_ms = (ready - begun) * 1000
        return _Result(outputs, None, preprocess_ms, model_ms, len(inputs), tokens)

    def _finish(self, parts: list[_Part], results: list[_Result]) -> None:
        self._free += 1
        self._learn(results[0])
        for part, result in zip(parts, results, strict=True):
            request, answer = part.request, part.request.answer
            answer.error = answer.error or result.error
            if result.error is None:
                answer.outputs[part.start : part.stop] = result.outputs
            answer.preprocess_ms += result.preprocess_ms
            answer.model_ms += result.model_ms
            answer.batch = max(answer.batch, result.batch)
            answer.tokens += sum(result.tokens)
            self._computing -= part.stop - part.start
            request.finished += part.stop - part.start
            if request.finished == len(request.inputs):
                self.in_flight -= 1
                request.done(answer)
        self._ended_at = time.perf_counter()
        self._pump()

    def _learn(self, result: _Result) -> None:
        if result.batch:
            took_s = (result.preprocess_ms + result.model_ms) / 1000 / result.batch
            known = self._s_per_input or took_s
            self._s_per_input = _RATE_MEMORY * known + (1 - _RATE_MEMORY) * took_s
