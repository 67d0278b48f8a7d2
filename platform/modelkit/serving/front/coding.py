"""Compressed bodies: gzip and deflate (RFC 9110, section 8.4.1), read within a bound and written on request.

Does not know connections: whoever calls decides by `is_quick` and by sizes whether a thread should do the work.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

#: Smaller answers cost more to compress than they save on the way.
MIN_ANSWER_BYTES = 4096
#: Up to here the event loop does the work itself: about a millisecond.
INLINE_ANSWER_BYTES = 64 * 1024
INLINE_BODY_BYTES = 1_000_000

#: `deflate` is the zlib format, whatever its name suggests.
_WINDOW_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
#: No deflate stream grows by more (zlib's technical notes).
_MAX_RATIO = 1032


class Damaged(ValueError):
    """The body is not one whole stream of its coding."""


class TooLarge(ValueError):
    """Unpacked, the body exceeds its limit."""


def known(coding: bytes) -> bool:
    """Whether bodies in this coding can be read."""
    return coding in _WINDOW_BITS


def is_quick(packed_bytes: int, limit: int) -> bool:
    """Whether unpacking can never take long enough to hold up other requests."""
    return min(limit, packed_bytes * _MAX_RATIO) <= INLINE_BODY_BYTES


def inflate(packed: bytes | bytearray, coding: bytes, limit: int) -> bytes:
    """The body itself. Never makes more than `limit` bytes and one; raises Damaged or TooLarge."""
    stream = zlib.decompressobj(_WINDOW_BITS[coding])
    try:
        body = stream.decompress(packed, limit + 1)
    except zlib.error as error:
        raise Damaged(str(error)) from None
    if len(body) > limit:
        raise TooLarge
    if not stream.eof:
        raise Damaged("it ends too early")
    # Several members in one stream are allowed by the format, written by nobody, and quadratic to read.
    if stream.unused_data:
        raise Damaged("something follows its end")
    return body


def deflate(body: bytes, coding: bytes) -> bytes:
    """`body` in that coding, at the fastest level."""
    stream = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS[coding])
    return stream.compress(body) + stream.flush()


@lru_cache(maxsize=256)
def accepted(header: bytes) -> bytes | None:
    """The coding to answer in by an Accept-Encoding header: gzip before deflate, None for neither."""
    weights: dict[bytes, float] = {}
    for item in header.lower().split(b","):
        name, _, parameter = item.partition(b";")
        weights[name.strip()] = _weight(parameter.strip())
    return next((coding for coding in (b"gzip", b"deflate") if weights.get(coding, 0.0) > 0.0), None)


def _weight(parameter: bytes) -> float:
    if not parameter:
        return 1.0
    key, _, value = parameter.partition(b"=")
    try:
        return float(value) if key.strip() == b"q" else 0.0
    except ValueError:
        return 0.0
