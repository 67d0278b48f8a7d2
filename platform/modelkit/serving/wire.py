"""Frames between front, agent and runner over Unix sockets.

A frame is a big-endian header (payload length, request id, code) and the payload. Requests on one connection are
multiplexed: replies carry the id of their request and may come in any order. A reply's payload begins with its `Cost`
and its picks (`modelkit.serving.picks`, behind their length), which the front reads; the body it passes on unread.
Does not know what payloads mean.
"""

from __future__ import annotations

import asyncio
import struct
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct(">IIB")
COST = struct.Struct(">fffII")
PICKS = struct.Struct(">I")
MAX_FRAME_BYTES = 80_000_000


class Ask(IntEnum):
    """What a request wants: of a runner, of the front's control socket, of the process that models share."""

    PREDICT = 1
    PREDICT_SCORES = 2
    TENSORS = 3
    INFO = 4
    TENSORS_BINARY = 5
    EMBED = 6
    EMBED_BASE64 = 7
    RELOAD = 10
    STATS = 11
    LOAD = 20
    UNLOAD = 21


class Status(IntEnum):
    """How it went. `INVALID`: the caller's input; `BUSY`: queue full."""

    OK = 0
    INVALID = 1
    BUSY = 2
    ERROR = 3


class Cost(NamedTuple):
    """What a request took: milliseconds by stage, inputs in its largest batch, its own tokens (0: unknown)."""

    queue_ms: float = 0.0
    preprocess_ms: float = 0.0
    model_ms: float = 0.0
    batch: int = 0
    tokens: int = 0


NO_COST = Cost()


class Reply(NamedTuple):
    status: Status
    body: bytes
    cost: Cost = NO_COST
    picks: bytes = b""


class BadFrame(ConnectionError):
    """The peer does not speak this protocol."""


def request_frame(request_id: int, ask: Ask, payload: bytes) -> bytes:
    return HEADER.pack(len(payload), request_id, ask) + payload


def reply_frame(request_id: int, reply: Reply) -> bytes:
    picks = reply.picks
    head = HEADER.pack(COST.size + PICKS.size + len(picks) + len(reply.body), request_id, reply.status)
    return head + COST.pack(*reply.cost) + PICKS.pack(len(picks)) + picks + reply.body


def parse_reply(code: int, payload: bytes) -> Reply:
    """Raises BadFrame."""
    try:
        (length,) = PICKS.unpack_from(payload, COST.size)
        start = COST.size + PICKS.size
        body = start + length
        return Reply(Status(code), payload[body:], Cost(*COST.unpack_from(payload)), payload[start:body])
    except (ValueError, struct.error) as error:
        raise BadFrame(str(error)) from None


class FrameProtocol(asyncio.Protocol):
    """Cuts the stream into frames and hands each to `frame_received`; closes on a frame that is too large."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports do not derive from asyncio's

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        end = len(buffer)
        while end - start >= HEADER.size:
            length, request_id, code = HEADER.unpack_from(buffer, start)
            if length > MAX_FRAME_BYTES:
                if self.transport is not None:
                    self.transport.abort()
                return
            stop = start + HEADER.size + length
            if stop > end:
                break
            self.frame_received(request_id, code, bytes(memoryview(buffer)[start + HEADER.size : stop]))
            start = stop
        if start:
            del buffer[:start]

    def frame_received(self, request_id: int, code: int, payload: bytes) -> None:
        raise NotImplementedError


async def ask(socket_path: str, what: Ask, payload: bytes = b"", *, timeout_s: float = 10.0) -> Reply:
    """One request over a connection of its own. Raises OSError when nobody listens, TimeoutError, BadFrame."""
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_unix_connection(socket_path)
        try:
            writer.write(request_frame(0, what, payload))
            length, _, code = HEADER.unpack(await reader.readexactly(HEADER.size))
            if length > MAX_FRAME_BYTES:
                raise BadFrame("The reply is too large.")
            return parse_reply(code, await reader.readexactly(length))
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("The connection closed before the reply.") from error
        finally:
            writer.close()
