"""The HTTP client with which the web process asks the other parts of the platform; it never asks the internet."""

from __future__ import annotations

from functools import cache

import httpx


@cache
def inner_client() -> httpx.Client:
    """One for the process: making it reads every root certificate, which takes longer than most answers.

    Its connections are not kept, so that none has gone stale when the other part was started again; and a proxy meant
    for the internet does not swallow its calls.
    """
    return httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
