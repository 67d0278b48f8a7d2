"""A connection whose handler fails: its caller is told so and let go, and the failure is in the log."""

from __future__ import annotations

import asyncio
import json
import logging
import socket

import pytest

from modelkit.serving.front.http import Connection
from modelkit.serving.front.problem import Problem
from modelkit.serving.front.request import Request


class Failing:
    """Fails while the headers are judged, or while the request is answered."""

    max_connections = 10

    def __init__(self, where: str) -> None:
        self.connections: set[Connection] = set()
        self._where = where

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
