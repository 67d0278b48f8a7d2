"""How the API reads JSON: strictly, so that what is stored can be given back as it came; and moments in addresses."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import orjson
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from ninja.parser import Parser
from pydantic import BeforeValidator

from apps.core.errors import AppError, Invalid, TooLarge

_LOST_PLUS = re.compile(r" (?=\d\d:?\d\d$)")


def _plus_restored(given: object) -> object:
    """`...T14:05+08:00` reaches us with a space: in an address a plus sign means one, and few clients escape it."""
    return _LOST_PLUS.sub("+", given) if isinstance(given, str) and "T" in given else given


#: A moment as a query parameter.
Moment = Annotated[datetime, BeforeValidator(_plus_restored)]


class StrictParser(Parser):
    """Refuses what JSON does not allow (NaN, lone surrogates) and NUL characters, which PostgreSQL cannot store."""

    def parse_body(self, request: HttpRequest) -> Any:
        try:
            body = request.body
        except RequestDataTooBig:
            raise TooLarge("The body is larger than what is accepted.", hint="Send files as multipart.") from None
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise AppError(
                f"The body is not valid JSON: {error}",
                code="malformed_json",
                hint="Send a JSON document encoded as UTF-8 with `Content-Type: application/json`.",
            ) from None
        if b"\\u0000" in body:
            raise Invalid("The body holds a NUL character.", code="nul_character", hint="Remove the character \\u0000.")
        return value
