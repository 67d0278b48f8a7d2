"""What a request frame carries: the inputs, and beside them a limit on tokens where the endpoint has one. Light."""

from __future__ import annotations

from typing import Any

import orjson


def pack_inputs(inputs: list[Any], max_tokens: int = 0) -> bytes:
    """JSON: the list itself, or an object with the limit. The tokenizer is the runner's, so the limit travels along."""
    payload = orjson.dumps(inputs)
    return b'{"max_tokens":%d,"inputs":%b}' % (max_tokens, payload) if max_tokens else payload


def unpack_inputs(payload: bytes) -> tuple[list[Any], int]:
    """The inputs and the limit (0: none). Raises ValueError for what `pack_inputs` did not write."""
    asked = orjson.loads(payload)
    if type(asked) is not dict:
        return asked, 0
    try:
        return asked["inputs"], asked["max_tokens"]
    except KeyError as error:
        raise ValueError(f"The frame has no {error.args[0]}.") from None
