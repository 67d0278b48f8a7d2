"""Loading and unloading over the Open Inference Protocol: the wish goes to the platform, which owns what should run.

The front decides nothing here. It calls the platform's own REST API with the caller's own key, so that roles, the audit
and the timeline are those of any other start or stop, and answers once the routing table shows it.
"""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import orjson

from modelkit.serving.front.dialects import json_object
from modelkit.serving.front.problem import Problem, Refused, invalid, unavailable

#: How long a caller waits for the change to be seen; it goes on without them.
SETTLE_TIMEOUT_S = 60.0
_CALL_TIMEOUT_S = 10.0
_LOOK_EVERY_S = 0.05
#: For a refusal of the platform that names no remedy.
_LOOK_THERE = "See the endpoint's page on the platform."


def check_load(body: bytes | bytearray) -> Problem | None:
    """Why the body of a load or an unload is refused: models come from the registry, never with the request."""
    if not body:
        return None
    try:
        parameters = json_object(body, "Send an empty object.").get("parameters", {})
        if not isinstance(parameters, dict):
            raise invalid("parameters", "Parameters are an object.", "Leave them out.")
        refused = next((name for name in parameters if name != "unload_dependents"), None)
        if refused is not None:
            hint = "Train or import the version, then deploy it to the endpoint."
            raise invalid(f"parameters.{refused[:60]}", "A model cannot be configured by this call.", hint)
    except Refused as refusal:
        return refusal.problem
    return None


def not_settled(endpoint: str) -> Problem:
    return unavailable(
        "not_settled",
        f"The change of {endpoint} is recorded but has not taken effect yet.",
        "It goes on by itself; ask for the endpoint's readiness.",
        retry_after_s=5,
    )


class ControlPlane:
    """The platform's REST API, at `url`; empty: this host was not told where it is."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    async def ask(self, endpoint: str, verb: str, authorization: bytes) -> Problem | None:
        """Start or stop an endpoint; None when the platform has recorded it."""
        if not self._url:
            return unavailable(
                "control_plane_unavailable",
                "This serving host was not told where the platform is.",
                f"Use POST /api/v1/endpoints/{endpoint}/{verb} of the platform, or set TUNEYARD_CONTROL_URL.",
            )
        try:
            status, body = await asyncio.to_thread(self._post, endpoint, verb, authorization)
        except (OSError, http.client.HTTPException) as error:
            return _silent(type(error).__name__)
        if status == 200:
            return None
        try:
            told = orjson.loads(body)["error"]
            hint = str(told["hint"] or _LOOK_THERE)
            return Problem(status, str(told["code"]), str(told["message"]), hint, dict(told["fields"]))
        except (ValueError, KeyError, TypeError):
            return _silent(f"status {status}")

    def _post(self, endpoint: str, verb: str, authorization: bytes) -> tuple[int, bytes]:
        """In a thread."""
        address = urlsplit(self._url)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        connection = kind(address.hostname or "", address.port, timeout=_CALL_TIMEOUT_S)
        try:
            headers = {"Authorization": authorization.decode("latin-1"), "Accept": "application/json"}
            connection.request("POST", f"{address.path}/api/v1/endpoints/{endpoint}/{verb}", headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _silent(reason: str) -> Problem:
    return unavailable(
        "control_plane_unavailable",
        f"The platform cannot be asked ({reason}); nothing was changed.",
        "Endpoints that run go on answering. Try again once the platform is back.",
        retry_after_s=5,
    )


async def settled(look: Callable[[], bool]) -> bool:
    """Wait until `look` is true; False when that took too long."""
    until = time.monotonic() + SETTLE_TIMEOUT_S
    while not look():
        if time.monotonic() > until:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)
    return True
