"""The one error shape of the platform, as the front writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer other than 200. `fields` maps the place in the request to what is wrong with it."""

    status: int
    code: str
    message: str
    hint: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()

    def body(self, request_id: str) -> bytes:
        return orjson.dumps(
            {
                "error": {
                    "code": self.code,
                    "message": self.message,
                    "fields": dict(self.fields),
                    "hint": self.hint,
                    "request_id": request_id,
                }
            }
        )

    def lines(self) -> bytes:
        """Its own headers."""
        return b"".join(f"{name}: {value}\r\n".encode() for name, value in self.headers)


BAD_HTTP = Problem(400, "bad_request", "This is not an HTTP/1.1 request that can be read.", "Check the client.")
FAILED = Problem(500, "internal", "The request failed here.", "See the log of the front; the request id finds it.")
NOT_FOUND = Problem(404, "not_found", "There is nothing at this address.", "See the inference reference for addresses.")
URL_TOO_LONG = Problem(414, "url_too_long", "The address is longer than 8 KB.", "Send the data in the body.")
HEADERS_TOO_LARGE = Problem(431, "headers_too_large", "The headers are larger than 16 KB.", "Send fewer headers.")
TIMED_OUT_READING = Problem(408, "request_timeout", "The request did not arrive in time.", "Send it again.")
UNAUTHENTICATED = Problem(
    401,
    "unauthenticated",
    "This needs a valid token.",
    "Send the header 'Authorization: Bearer ty_...' with a token that has not expired or been revoked.",
    headers=(("www-authenticate", "Bearer"),),
)
NOT_LOADED = Problem(
    503,
    "not_ready",
    "The serving port has not read yet what it serves, or to whom.",
    "Try again soon.",
    headers=(("retry-after", "1"),),
)
#: Said by the agent, for a front that is no more.
FRONT_DOWN = Problem(
    503,
    "front_down",
    "The serving front ended before it answered; another one takes its place.",
    "Send the request again.",
    headers=(("retry-after", "1"),),
)
FULL = Problem(
    503,
    "too_many_connections",
    "More connections are open than this port can hold.",
    "Try again soon, and keep connections open rather than opening one for each request.",
    headers=(("retry-after", "1"),),
)
ENCODED_BODY = Problem(
    415, "unsupported_encoding", "Bodies are read in gzip, deflate or as they are.", "Send the body in one of these."
)


class Refused(Exception):
    """The request cannot be sent to a model."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def invalid(field: str, message: str, hint: str) -> Refused:
    return Refused(Problem(422, "invalid_input", message, hint, {field: message}))


def malformed_json(reason: str) -> Refused:
    hint = "Send a JSON object in UTF-8."
    return Refused(Problem(400, "malformed_json", f"The body is not JSON: {reason}.", hint))


def damaged_body(reason: str) -> Problem:
    message = f"The compressed body cannot be unpacked: {reason}."
    return Problem(400, "damaged_body", message, "Compress it as one whole stream, or send it as it is.")


def other_endpoint(endpoint: str) -> Problem:
    """The same for names that exist and names that do not: a key is no means to find out which do."""
    return Problem(
        403,
        "key_of_another_endpoint",
        f"This key is for the endpoint {endpoint} only.",
        "Use a key of the endpoint that you ask, or a token of its workspace.",
    )


def body_too_large(limit_bytes: int) -> Problem:
    return Problem(
        413,
        "body_too_large",
        f"The body is larger than {limit_bytes} bytes.",
        "Split the inputs over several requests.",
    )


def method_not_allowed(allowed: str) -> Problem:
    return Problem(
        405, "method_not_allowed", f"This address takes {allowed}.", f"Use {allowed}.", headers=(("allow", allowed),)
    )


def unavailable(code: str, message: str, hint: str, *, retry_after_s: int | None = None) -> Problem:
    headers = (("retry-after", str(retry_after_s)),) if retry_after_s is not None else ()
    return Problem(503, code, message, hint, headers=headers)
