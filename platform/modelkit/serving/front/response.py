"""The head of an HTTP/1.1 answer as bytes."""

from __future__ import annotations

_REASONS = {
    200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found",
    405: b"Method Not Allowed", 408: b"Request Timeout", 409: b"Conflict", 413: b"Content Too Large",
    414: b"URI Too Long", 415: b"Unsupported Media Type", 422: b"Unprocessable Content", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 500: b"Internal Server Error", 503: b"Service Unavailable",
    504: b"Gateway Timeout",
}  # fmt: skip


def head(
    status: int, length: int, request_id: str, *, content_type: bytes, extra: bytes = b"", keep_alive: bool
) -> bytes:
    """`length` is that of the body in bytes; `extra` are complete header lines."""
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b%b\r\n" % (
        status,
        _REASONS.get(status, b"Unknown"),
        content_type,
        length,
        request_id.encode(),
        extra,
        b"" if keep_alive else b"connection: close\r\n",
    )
