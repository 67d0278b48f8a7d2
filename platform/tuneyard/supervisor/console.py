"""The processes' lines, prefixed on the terminal and in one rotated file for each process."""

from __future__ import annotations

import os
import re
import sys
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

#: The supervisor's own lines.
OWN = "tuneyard"

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_FILE_BYTES = 10 * 1024 * 1024
_OLD_FILES = 3


class _File(RotatingFileHandler):
    """Rotation by size for plain lines. A full disk costs the line, never the supervisor."""

    def write_line(self, text: str) -> None:
        try:
            if self.stream is not None and self.stream.tell() + len(text) >= self.maxBytes:
                self.doRollover()
            if self.stream is None:
                self.stream = self._open()
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            pass


class Console:
    """Writes lines; knows nothing of processes but their names."""

    def __init__(self, logs: Path, *, stream: TextIO | None = None) -> None:
        self._logs = logs
        self._stream = stream or sys.stdout
        self._files: dict[str, _File] = {}
        self._colours: dict[str, int] = {}
        self._width = 10
        self._colourful = "NO_COLOR" not in os.environ and (self._stream.isatty() or "FORCE_COLOR" in os.environ)

    def line(self, name: str, text: str, *, file: bool = True) -> None:
        """One line of the process `name`; with `file=False` it goes to the terminal only."""
        text = _CONTROL.sub("", text.rstrip())
        now = time.localtime()
        self._print(f"{time.strftime('%H:%M:%S', now)} {self._prefix(name)} {text}")
        if file:
            self._file(name).write_line(f"{time.strftime('%Y-%m-%d %H:%M:%S', now)} {text}\n")

    def say(self, text: str) -> None:
        """A line of the supervisor itself."""
        for part in text.splitlines():
            self.line(OWN, part)

    def block(self, text: str) -> None:
        """Text that is meant to be read and copied: no prefix, and in no file, since it may hold the first password."""
        self._print(text)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _print(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal is gone; the files go on.
            pass

    def _prefix(self, name: str) -> str:
        self._width = max(self._width, len(name))
        label = f"{name:<{self._width}} |"
        if not self._colourful:
            return label
        colour = 1 if name == OWN else self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"\x1b[{colour}m{label}\x1b[0m"

    def _file(self, name: str) -> _File:
        if name not in self._files:
            self._files[name] = _File(
                self._logs / f"{name}.log", maxBytes=_FILE_BYTES, backupCount=_OLD_FILES, encoding="utf-8", delay=True
            )
        return self._files[name]
