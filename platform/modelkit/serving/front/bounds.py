"""What one connection may send, how long it may take for it, and how much it is sent at once."""

from __future__ import annotations

MAX_URL_BYTES = 8 * 1024
MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 100
#: What may come without completing a header or bringing a part of a body. The parser keeps to itself what is not
#: complete, a header or trailer without end above all, and copies all of it with each piece.
MAX_UNHEARD_BYTES = 32 * 1024
#: A refused body up to this size is read and thrown away, because many clients read the answer only after sending.
MAX_DISCARD_BYTES = 16_000_000
MAX_PIPELINED = 16

HEADER_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 30.0
IDLE_TIMEOUT_S = 75.0
WRITE_TIMEOUT_S = 60.0
LINGER_S = 5.0

#: An answer up to this size fits into what Linux gives a connection for sending, at the least.
TAKEN_WHOLE_BYTES = 14 * 1024
