"""One HTTP request as it was read: what `http` fills in and everybody behind it looks at."""

from __future__ import annotations

import itertools
import os
import re
from typing import Any

from modelkit.serving.front.problem import Problem

_CLIENT_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_id_prefix = "req_" + os.urandom(5).hex()
_id_counter = itertools.count(1)


class Request:
    """One request; `target` is what `Handler.admit` found out about it."""

    __slots__ = (
        "body",
        "coding",
        "complete_at",
        "headers",
        "keep_alive",
        "max_body",
        "method",
        "path",
        "problem",
        "request_id",
        "target",
        "url",
    )

    def __init__(self) -> None:
        self.method = ""
        self.url = b""
        self.path = ""
        self.headers: dict[bytes, bytes] = {}
        self.body: bytearray | bytes = bytearray()
        self.coding: bytes | None = None
        self.max_body = 0
        self.keep_alive = True
        self.problem: Problem | None = None
        self.target: Any = None
        self.request_id = ""
        self.complete_at = 0.0

    def name_itself(self) -> None:
        """Take the client's request id where it is a sane one, else a new one."""
        given = self.headers.get(b"x-request-id")
        if given is not None and _CLIENT_ID.fullmatch(given):
            self.request_id = given.decode()
        else:
            self.request_id = f"{_id_prefix}{next(_id_counter):x}"
