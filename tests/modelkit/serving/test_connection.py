"""Connections without endpoints: one whose handler fails, and more of them than the port can hold."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from pathlib import Path

import pytest

from modelkit.serving.custody import ASKED, HALF_ANSWERED, IDLE
from modelkit.serving.front.app import Front
from modelkit.serving.front.custody import Custody
from modelkit.serving.front.http import Connection
from modelkit.serving.front.problem import Problem
from modelkit.serving.front.request import Request


class Failing:
    """Fails while the headers are judged, or while the request is answered."""

    def __init__(self, where: str) -> None:
        self.connections: set[Connection] = set()
        self.custody = Custody()
        self._where = where

    def has_room(self) -> bool:
        return True

    def admit(self, request: Request, connection: Connection) -> Problem | None:
        if self._where == "admit":
            raise ArithmeticError("asked to fail")
        return None

    def handle(self, request: Request, connection: Connection) -> None:
        raise ArithmeticError("asked to fail")

    def refused(self, request: Request, problem: Problem) -> None:
        pass


@pytest.mark.parametrize("where", ["admit", "handle"])
def test_a_failure_of_ours_is_500_and_not_the_callers_mistake(where: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> bytes:
        here, there = socket.socketpair()
        here.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: Connection(Failing(where)), sock=there)
        await loop.sock_sendall(here, b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\nGET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
        received = b""
        async with asyncio.timeout(20):
            while data := await loop.sock_recv(here, 65536):
                received += data
        here.close()
        return received

    with caplog.at_level(logging.ERROR):
        answer = asyncio.run(scenario())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert b"connection: close" in head
    assert json.loads(body)["error"]["code"] == "internal"
    assert "asked to fail" in caplog.text


class Holding(Failing):
    """Answers when it is told to."""

    held: tuple[Request, Connection] | None = None

    def handle(self, request: Request, connection: Connection) -> None:
        self.held = request, connection


@pytest.mark.parametrize("half_closed", [True, False])
def test_only_a_caller_who_may_still_send_is_waited_for(half_closed: bool) -> None:
    async def scenario() -> tuple[bytes, bool]:
        here, there = socket.socketpair()
        here.setblocking(False)
        loop = asyncio.get_running_loop()
        handler = Holding("")
        transport, _ = await loop.create_connection(lambda: Connection(handler), sock=there)
        await loop.sock_sendall(here, b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\nno request\r\n\r\n")
        if half_closed:
            here.shutdown(socket.SHUT_WR)
        while handler.held is None:
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        request, connection = handler.held
        connection.respond(request, 200, b"{}")
        received = b""
        async with asyncio.timeout(20):
            while data := await loop.sock_recv(here, 65536):
                received += data
        closing = transport.is_closing()
        here.close()
        return received, closing

    answers, closing = asyncio.run(scenario())
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400 " in answers
    assert closing is half_closed


class Wire:
    """A transport that takes `room` bytes at once, and reads what the custodian would find after a kill just then."""

    def __init__(self, handler: Holding, room: int) -> None:
        self._handler = handler
        self._room = room
        self.protocol = Connection(handler)
        self.at_writing: list[tuple[int, str]] = []
        self.protocol.connection_made(self)  # type: ignore[arg-type]  # what a connection calls of one, and no more

    def now(self) -> tuple[int, str]:
        memory = self._handler.custody._memory
        assert memory is not None
        place = self.protocol._place
        return memory.state(place), memory.request_id(place) if memory.state(place) == ASKED else ""

    def answer(self, body: bytes) -> None:
        held = self._handler.held
        assert held is not None
        held[1].respond(held[0], 200, body)

    def write(self, data: bytes) -> None:
        self.at_writing.append(self.now())
        if len(data) > self._room:
            self.protocol.pause_writing()

    def get_extra_info(self, name: str) -> Wire:
        return self

    def fileno(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def get_write_buffer_size(self) -> int:
        return 0

    def write_eof(self) -> None:
        pass


def get(name: str, *lines: str) -> bytes:
    return "\r\n".join(["GET /v2 HTTP/1.1", "host: x", f"x-request-id: {name}", *lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("behind", "noted"),
    [
        pytest.param(b"", (IDLE, ""), id="nothing"),
        pytest.param(get("b")[:40], (ASKED, ""), id="its first headers"),
        pytest.param(get("b", "content-length: 9") + b"{", (ASKED, "b"), id="half its body"),
        pytest.param(get("b"), (ASKED, "b"), id="the whole"),
        pytest.param(get("b") + get("c"), (ASKED, "b"), id="two of them"),
    ],
)
def test_when_an_answer_is_written_the_custodian_knows_of_the_request_behind_it(
    tmp_path: Path, behind: bytes, noted: tuple[int, str]
) -> None:
    handler = Holding("")
    handler.custody = Custody(tmp_path / "nobody.sock", places=1)
    wire = Wire(handler, room=1000)
    wire.protocol.data_received(get("a") + behind)
    assert wire.now() == (ASKED, "a")
    wire.answer(b"{}")
    assert wire.at_writing == [noted]
    assert wire.now() == noted


def test_behind_the_last_answer_of_a_connection_nobody_waits(tmp_path: Path) -> None:
    handler = Holding("")
    handler.custody = Custody(tmp_path / "nobody.sock", places=1)
    wire = Wire(handler, room=1000)
    wire.protocol.data_received(get("a", "connection: close") + get("b"))
    wire.answer(b"{}")
    assert wire.at_writing == [(IDLE, "")]


@pytest.mark.parametrize("bytes_", [2_000, 200_000])
def test_nothing_may_be_put_behind_half_an_answer(tmp_path: Path, bytes_: int) -> None:
    handler = Holding("")
    handler.custody = Custody(tmp_path / "nobody.sock", places=1)
    wire = Wire(handler, room=1000)
    wire.protocol.data_received(get("a"))
    wire.answer(b"1" * bytes_)
    assert wire.now() == (HALF_ANSWERED, "")
    wire.protocol.data_received(get("b"))
    assert wire.now() == (HALF_ANSWERED, "")
    wire.protocol.resume_writing()
    assert wire.now() == (ASKED, "b")


def test_while_a_large_answer_is_written_nothing_may_be_put_behind_it(tmp_path: Path) -> None:
    handler = Holding("")
    handler.custody = Custody(tmp_path / "nobody.sock", places=1)
    wire = Wire(handler, room=1_000_000)
    wire.protocol.data_received(get("a") + get("b"))
    wire.answer(b"1" * 200_000)
    assert wire.at_writing == [(HALF_ANSWERED, "")]
    assert wire.now() == (ASKED, "b")


LIVE = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"


def test_a_full_port_lets_the_longest_idle_caller_go_and_refuses_where_nobody_is_idle(tmp_path: Path) -> None:
    async def scenario() -> None:
        front = Front(tmp_path / "routing.json", max_connections=3)
        server = await asyncio.get_running_loop().create_server(lambda: Connection(front), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def ask(sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            return reader, writer

        async def answer(reader: asyncio.StreamReader) -> bytes:
            head = await reader.readuntil(b"\r\n\r\n")
            return head + await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))

        callers = []
        for _ in range(3):
            callers.append(await ask(LIVE))
            await answer(callers[-1][0])
        newest = await ask(LIVE)
        assert (await answer(newest[0])).startswith(b"HTTP/1.1 200 ")
        assert await callers[0][0].read() == b""
        living = [*callers[1:], newest]
        for reader, writer in living:
            writer.write(LIVE + LIVE[:20])
            await answer(reader)
        refused = await ask(LIVE)
        told = await refused[0].read()
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in told
        assert json.loads(told.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_many_connections"
        living[0][1].write(LIVE[20:])
        assert (await answer(living[0][0])).startswith(b"HTTP/1.1 200 ")
        again = await ask(LIVE)
        assert (await answer(again[0])).startswith(b"HTTP/1.1 200 ")
        for _, writer in (*callers, newest, refused, again):
            writer.close()
        server.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))
