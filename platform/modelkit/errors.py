"""Failures of work done outside the web: those the user can mend, those we must, and a stop that was asked for."""

from __future__ import annotations


class UserError(Exception):
    """The user can mend this: shown as a card with `message` (cause in plain words) and `hint` (what to do).

    `code` is a stable snake_case id, documented in `docs/reference/errors.md`; `field` names the input at fault.
    """

    def __init__(self, code: str, message: str, hint: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.field = field


class Stopped(Exception):
    """The job stopped because it was asked to; its checkpoint is on disk."""
