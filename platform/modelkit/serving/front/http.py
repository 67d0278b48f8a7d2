"""One HTTP/1.1 connection: parsing by httptools, limits, time-outs, and answers in the order of the requests.

Knows nothing of endpoints: `Handler.admit` is asked once the headers are read (it may refuse before any body arrives)
and `Handler.handle` once the body is complete.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import httptools

from modelkit.serving.front import bounds, coding
from modelkit.serving.front.custody import NOWHERE, Custody
from modelkit.serving.front.problem import (
    BAD_HTTP,
    ENCODED_BODY,
    FAILED,
    FULL,
    HEADERS_TOO_LARGE,
    TIMED_OUT_READING,
    URL_TOO_LONG,
    Problem,
    body_too_large,
    damaged_body,
)
from modelkit.serving.front.request import Request
from modelkit.serving.front.response import head

logger = logging.getLogger("modelkit.serving.front")

_NEVER = float("inf")


class Handler(Protocol):
    """What answers. `admit` sets `request.target` and `request.max_body`, or returns why the request is refused."""

    connections: set[Connection]
    custody: Custody

    def has_room(self) -> bool: ...

    def admit(self, request: Request, connection: Connection) -> Problem | None: ...

    def handle(self, request: Request, connection: Connection) -> None: ...

    def refused(self, request: Request, problem: Problem) -> None: ...


class Connection(asyncio.Protocol):
    """See the module. At most one request of a connection is being answered; pipelined ones wait their turn."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._place = NOWHERE
        self._parser = httptools.HttpRequestParser(self)
        self.transport: Any = None
        self._reading: Request | None = None
        self._header_bytes = 0
        self._heard = False
        self._unheard_bytes = 0
        self._discarded = 0
        self._owes_continue = False
        self._queue: deque[Request] = deque()
        self._active: Request | None = None
        self._advancing = False
        self._read_paused = False
        self._write_paused = False
        self._deaf = False
        self._lingers = False
        self.deadline = _NEVER
        self.closing = False

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if not self._handler.has_room():
            request = self._active = Request()
            request.name_itself()
            request.keep_alive = False
            self._finish(request, FULL.status, FULL.body(request.request_id), b"application/json", FULL.lines())
            return
        self._handler.connections.add(self)
        # `pause_writing` then says whenever the system has not taken an answer whole.
        self.transport.set_write_buffer_limits(high=0)
        self._place = self._handler.custody.enter(transport.get_extra_info("socket"))
        self.deadline = time.monotonic() + bounds.IDLE_TIMEOUT_S

    def connection_lost(self, exc: Exception | None) -> None:
        self._handler.connections.discard(self)
        self._handler.custody.leave(self._place)
        self._place = NOWHERE
        self.closing = True
        self.transport = None
        self._active = None
        self._queue.clear()

    def eof_received(self) -> bool:
        # A client may close its sending side and still wait for the answer.
        if self._active is None and not self._queue:
            return False
        # Nothing more can come that a close would leave unread.
        self._lingers = False
        self.close_after_answers()
        return True

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._discarded += len(data)
            if self._discarded > bounds.MAX_DISCARD_BYTES:
                self._abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request itself is complete and is answered as HTTP/1.1; what follows it is not ours to read.
            self.close_after_answers()
        except httptools.HttpParserCallbackError:
            # The parser wraps what our own code raises, which must not pass for the caller's mistake.
            logger.exception("A request could not be handled.")
            self._give_up()
        except httptools.HttpParserError:
            self._fail(BAD_HTTP)
        else:
            if self._heard:
                self._heard, self._unheard_bytes = False, 0
                return
            self._unheard_bytes += len(data)
            if self._unheard_bytes > bounds.MAX_UNHEARD_BYTES:
                self._fail(HEADERS_TOO_LARGE)

    def pause_writing(self) -> None:
        self._write_paused = True
        self._handler.custody.half_answered(self._place)
        self.deadline = time.monotonic() + bounds.WRITE_TIMEOUT_S

    def resume_writing(self) -> None:
        self._write_paused = False
        self._note_who_waits()
        self.deadline = time.monotonic() + bounds.IDLE_TIMEOUT_S
        self._advance()

    # --- httptools ---

    def on_message_begin(self) -> None:
        if self._deaf:
            return
        self._heard = True
        self._reading = Request()
        self._header_bytes = 0
        if self._active is None:
            self._note_who_waits()
        self.deadline = time.monotonic() + bounds.HEADER_TIMEOUT_S

    def on_url(self, url: bytes) -> None:
        request = self._reading
        if request is None:
            return
        if len(request.url) + len(url) > bounds.MAX_URL_BYTES:
            self._fail(URL_TOO_LONG)
            return
        request.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self._reading
        if request is None:
            return
        self._heard = True
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > bounds.MAX_HEADER_BYTES or len(request.headers) >= bounds.MAX_HEADERS:
            self._fail(HEADERS_TOO_LARGE)
            return
        request.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        request = self._reading
        if request is None:
            return
        self.deadline = time.monotonic() + bounds.BODY_TIMEOUT_S
        request.method = self._parser.get_method().decode()
        request.name_itself()
        try:
            request.path = httptools.parse_url(request.url).path.decode("ascii")
        except (httptools.HttpParserError, UnicodeDecodeError, AttributeError):
            self._fail(BAD_HTTP)
            return
        length_header = request.headers.get(b"content-length", b"0")
        length = int(length_header) if length_header.isdigit() else 0
        request.problem = self._handler.admit(request, self)
        if self._active is None:
            self._note_who_waits()
        if request.problem is None and length > request.max_body:
            request.problem = body_too_large(request.max_body)
        coded = request.headers.get(b"content-encoding")
        if coded is not None and request.problem is None:
            self._note_coding(request, coded.strip().lower())
        expects = request.headers.get(b"expect", b"").lower() == b"100-continue"
        if request.problem is not None and (expects or length > bounds.MAX_DISCARD_BYTES):
            self._fail(request.problem)
        elif expects and self._active is None and not self._queue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        else:
            self._owes_continue = expects

    def on_body(self, body: bytes) -> None:
        self._heard = True
        request = self._reading
        if request is None:
            return
        if request.problem is None and len(request.body) + len(body) > request.max_body:
            request.problem = body_too_large(request.max_body)
            self._discarded = len(request.body)
        if request.problem is None:
            request.body += body
            return
        request.body = bytearray()
        self._discarded += len(body)
        if self._discarded > bounds.MAX_DISCARD_BYTES:
            self._fail(request.problem)

    def on_message_complete(self) -> None:
        request = self._reading
        if request is None:
            return
        self._reading = None
        self._discarded = 0
        request.keep_alive = self._parser.should_keep_alive()
        request.complete_at = time.perf_counter()
        self.deadline = _NEVER
        self._queue.append(request)
        if len(self._queue) >= bounds.MAX_PIPELINED and not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()
        self._advance()

    # --- answers ---

    def respond(
        self, request: Request, status: int, body: bytes, content_type: bytes = b"application/json", extra: bytes = b""
    ) -> None:
        """Answer `request`; an answer to a request that is no longer waited for is dropped."""
        if request is not self._active or self.transport is None:
            return
        if len(body) >= coding.MIN_ANSWER_BYTES and (given := request.headers.get(b"accept-encoding")) is not None:
            wanted = coding.accepted(given)
            if wanted is not None:
                self._respond_packed(request, status, body, content_type, extra, wanted)
                return
        self._finish(request, status, body, content_type, extra)

    def _finish(self, request: Request, status: int, body: bytes, content_type: bytes, extra: bytes) -> None:
        self._active = None
        if not request.keep_alive:
            self._hear_no_more()
        # Before it is written: killed right behind it, the front could not tell any more that the next one waits.
        if len(body) <= bounds.TAKEN_WHOLE_BYTES:
            self._note_who_waits()
        else:
            self._handler.custody.half_answered(self._place)
        self._write(request, status, body, content_type, extra)
        if not request.keep_alive:
            self._close()
            return
        if len(body) > bounds.TAKEN_WHOLE_BYTES:
            self._note_who_waits()
        if self._reading is None:
            self.deadline = time.monotonic() + bounds.IDLE_TIMEOUT_S
        self._advance()

    def refuse(self, request: Request, problem: Problem) -> None:
        """Answer with a problem."""
        self._handler.refused(request, problem)
        self.respond(request, problem.status, problem.body(request.request_id), extra=problem.lines())

    def expire(self, now: float) -> None:
        """Called about once a second: end what has waited too long for its peer."""
        if now < self.deadline or self.transport is None:
            return
        if self.closing or self._write_paused:
            self._abort()
        elif self._reading is not None:
            if not self._read_paused:
                self._fail(TIMED_OUT_READING)
        elif self._active is None:
            self._close()

    @property
    def idle(self) -> bool:
        """Whether nothing has come of a request that was not answered."""
        return self._reading is None and self._active is None and not self._queue and not self.closing

    def close(self) -> None:
        """Close an idle connection, whose caller has to open another one."""
        if self.transport is not None:
            self._close()

    def close_after_answers(self) -> None:
        """Answer what has come completely, take nothing more, and close."""
        if self.transport is None or self._deaf:
            return
        self._deaf = True
        self._reading = None
        self.deadline = _NEVER
        last = self._queue[-1] if self._queue else self._active
        if last is None:
            self._close()
        else:
            last.keep_alive = False

    # --- compressed bodies ---

    def _note_coding(self, request: Request, coded: bytes) -> None:
        if coding.known(coded):
            request.coding = coded
        elif coded != b"identity":
            request.problem = ENCODED_BODY

    def _unpack(self, request: Request, coded: bytes) -> None:
        unpack = functools.partial(coding.inflate, request.body, coded, request.max_body)
        if coding.is_quick(len(request.body), request.max_body):
            self._unpacked(request, unpack)
            return
        waiting = asyncio.get_running_loop().run_in_executor(None, unpack)
        waiting.add_done_callback(lambda done: self._unpacked(request, done.result))

    def _unpacked(self, request: Request, result: Callable[[], bytes]) -> None:
        try:
            request.body = result()
        except coding.TooLarge:
            self.refuse(request, body_too_large(request.max_body))
        except coding.Damaged as error:
            self.refuse(request, damaged_body(str(error)))
        else:
            if request is self._active:
                self._handler.handle(request, self)

    def _respond_packed(
        self, request: Request, status: int, body: bytes, content_type: bytes, extra: bytes, wanted: bytes
    ) -> None:
        extra = b"content-encoding: %b\r\nvary: accept-encoding\r\n%b" % (wanted, extra)
        if len(body) <= coding.INLINE_ANSWER_BYTES:
            self._finish(request, status, coding.deflate(body, wanted), content_type, extra)
            return

        def packed(done: asyncio.Future[bytes]) -> None:
            if request is self._active and self.transport is not None:
                self._finish(request, status, done.result(), content_type, extra)

        waiting = asyncio.get_running_loop().run_in_executor(None, coding.deflate, body, wanted)
        waiting.add_done_callback(packed)

    # --- inside ---

    def _advance(self) -> None:
        # A loop rather than recursion: many pipelined requests may be answered without ever waiting.
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._queue and self._active is None and not self._write_paused and self.transport is not None:
                request = self._active = self._queue.popleft()
                if request.problem is not None:
                    self.refuse(request, request.problem)
                elif request.coding is not None:
                    self._unpack(request, request.coding)
                else:
                    self._handler.handle(request, self)
        finally:
            self._advancing = False
        if self.transport is None or self.closing:
            return
        if self._read_paused and len(self._queue) < bounds.MAX_PIPELINED // 2:
            self._read_paused = False
            self.transport.resume_reading()
        if self._owes_continue and self._active is None and not self._queue:
            self._owes_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _note_who_waits(self) -> None:
        if self._write_paused:
            return
        waiting = self._active or (self._queue[0] if self._queue else self._reading)
        if waiting is None:
            self._handler.custody.idle(self._place)
        else:
            self._handler.custody.asked(self._place, waiting.request_id)

    def _hear_no_more(self) -> None:
        # The parser goes on with what came in the same piece; nothing of that may be answered any more.
        self._deaf = True
        self._reading = None
        self._queue.clear()

    def _write(self, request: Request, status: int, body: bytes, content_type: bytes, extra: bytes) -> None:
        start = head(
            status,
            len(body),
            request.request_id,
            content_type=content_type,
            extra=extra,
            keep_alive=request.keep_alive,
        )
        self.transport.write(start if request.method == "HEAD" else start + body)

    def _fail(self, problem: Problem) -> None:
        """Refuse the request being read, once those before it are answered, and read no more of this connection."""
        if self.transport is None or self._deaf:
            return
        request = self._reading or Request()
        self._reading = None
        if not request.request_id:
            request.name_itself()
        request.problem = problem
        request.keep_alive = False
        self._deaf = self._lingers = True
        self.deadline = _NEVER
        self._queue.append(request)
        self._advance()

    def _give_up(self) -> None:
        """After a failure of our own: answer once, so that nobody waits for ever, and close."""
        request = self._active or self._reading or Request()
        self._reading = None
        self._deaf = True
        self._queue.clear()
        self._active = request
        request.keep_alive = False
        self.refuse(request, FAILED)

    def _close(self) -> None:
        self.closing = True
        self._hear_no_more()
        if not self._lingers:
            if self._place != NOWHERE and not self.transport.get_write_buffer_size():
                self._handler.custody.end(self._place)
            self.transport.close()
            return
        # The peer may still be sending: a close with unread data would reset the connection and destroy the answer.
        self.deadline = time.monotonic() + bounds.LINGER_S
        self.transport.write_eof()

    def _abort(self) -> None:
        self.closing = True
        self.transport.abort()
