"""Ends what is left of an instance whose supervisor was killed.

Called as `python -m tuneyard.supervisor.guardian MARKER GRACE_S`.
Its standard input is a pipe that only the supervisor holds. A last word on it means an orderly stop, nothing to do;
an end without a word means that the supervisor died. Its direct children have then had SIGTERM from the kernel; what
has not ended by itself after the grace (trainings write a checkpoint meanwhile) is killed.
"""

from __future__ import annotations

import signal
import sys
import time

from tuneyard.supervisor.kernel import end, kill_after, processes_of

LAST_WORD = b"stopped"


def main() -> None:
    marker, grace_s = sys.argv[1], float(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == LAST_WORD:
        return
    if sys.platform != "linux":
        end(processes_of(marker), grace_s)
    deadline = time.monotonic() + grace_s
    # Looked up again and again: a process that ends may leave children that nobody had seen.
    while left := processes_of(marker):
        kill_after(left, max(0.0, deadline - time.monotonic()))


if __name__ == "__main__":
    main()
