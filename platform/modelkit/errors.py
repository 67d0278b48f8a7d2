"""Failures of work done outside the web: those the user can mend, those we must, and a stop that was asked for."""

from __future__ import annotations

from typing import Any

from modelkit.wording import say


class UserError(Exception):
    """The user can mend this: shown as a card with `message` (cause in plain words) and `hint` (what to do).

    `code` is a stable snake_case id, documented in `docs/reference/errors.md`; `field` names the input at fault.
    Message and hint are templates, `params` the values for their `{names}`: they are worded again for each reader.
    """

    def __init__(self, code: str, message: str, hint: str = "", *, field: str = "", **params: Any) -> None:
        self.code = code
        self.message = say(message, **params)
        self.hint = say(hint, **params)
        self.field = field
        super().__init__(self.message)

    def card(self) -> dict[str, str]:
        """What is kept of it."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "field": self.field}


class Stopped(Exception):
    """The job stopped because it was asked to; its checkpoint is on disk."""
