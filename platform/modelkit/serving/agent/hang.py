"""Ends the agent when it hangs, and leaves where it hung in its log: whoever supervises it starts the next.

Front and runners go on meanwhile, and the next agent takes them over.
"""

from __future__ import annotations

import faulthandler
import time

#: No pass of the agent's loop takes nearly as long: what it awaits has limits of seconds.
HUNG_S = 30.0
_EVERY_S = 1.0


class HangWatch:
    """Armed by the first `put_off`; without another for `hung_s` seconds the process ends with status 1.

    The watching thread is faulthandler's own, which needs no interpreter lock: a loop that blocks is ended too.
    """

    def __init__(self, hung_s: float = HUNG_S) -> None:
        self._hung_s = hung_s
        self._armed_at = float("-inf")

    def put_off(self) -> None:
        """Say that all is well."""
        now = time.monotonic()
        if now - self._armed_at >= min(_EVERY_S, self._hung_s / 4):
            self._armed_at = now
            faulthandler.dump_traceback_later(self._hung_s, exit=True)

    def end(self) -> None:
        """Watch no more: what comes now has limits of its own."""
        faulthandler.cancel_dump_traceback_later()
