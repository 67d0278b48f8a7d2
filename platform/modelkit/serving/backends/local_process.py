"""Serving on this host: the desired set is a file that the agent follows. Light.

Does not know where desired revisions come from, nor what a revision is made of.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from modelkit.serving.files import tail, write_atomic
from modelkit.serving.paths import ServingPaths
from modelkit.serving.plan import DesiredSet, KeySet, KeyUsage, ObservedSet

_CAPABILITIES = frozenset(("traffic_split", "golden_replay", "drain", "metrics"))


class LocalProcess:
    """`modelkit.contracts.ServingBackend` for one machine. `base_url` is where callers reach the front."""

    name = "local_process"

    def __init__(self, home: Path, base_url: str) -> None:
        self._paths = ServingPaths(home.absolute())
        self._base_url = base_url.rstrip("/")

    def capabilities(self) -> frozenset[str]:
        return _CAPABILITIES

    @property
    def journal(self) -> Path:
        """Where the front leaves its figures; see `modelkit.serving.journal`."""
        return self._paths.journal

    @contextmanager
    def exclusive(self, what: Literal["desired", "keys"] = "desired") -> Iterator[None]:
        """Hold while reading the truth and applying it, so that an older reading cannot overwrite a newer one."""
        self._paths.folder.mkdir(parents=True, exist_ok=True)
        path = self._paths.desired_lock if what == "desired" else self._paths.keys_lock
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def apply(self, desired: DesiredSet) -> None:
        """State the whole set; its generation is counted here. Writing the same set again changes nothing."""
        current = self.desired()
        if current is not None and current.model_copy(update={"generation": 0}) == desired.model_copy(
            update={"generation": 0}
        ):
            return
        generation = (current.generation if current is not None else 0) + 1
        self._paths.folder.mkdir(parents=True, exist_ok=True)
        stated = desired.model_copy(update={"generation": generation})
        write_atomic(self._paths.desired, stated.model_dump_json(indent=1).encode())

    def desired(self) -> DesiredSet | None:
        """The set stated last; None when there is none that can be read."""
        try:
            return DesiredSet.model_validate_json(self._paths.desired.read_bytes())
        except (OSError, ValidationError):
            return None

    def apply_keys(self, keys: KeySet) -> None:
        """State who may ask; the front sees it within a tenth of a second. The same set again changes nothing."""
        content = keys.model_dump_json(exclude_defaults=True).encode()
        try:
            if self._paths.keys.read_bytes() == content:
                return
        except FileNotFoundError:
            self._paths.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self._paths.keys, content)

    def key_usage(self) -> dict[str, KeyUsage]:
        """What each key has used, by its id, as the front wrote it last; empty before its first time."""
        try:
            rows = json.loads(self._paths.key_usage.read_bytes())
            return {id_: KeyUsage.model_validate(row) for id_, row in rows.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def observe(self) -> ObservedSet | None:
        """What the agent reported last; None when it never did. Look at `updated_at` for its age."""
        try:
            return ObservedSet.model_validate_json(self._paths.observed.read_bytes())
        except (OSError, ValidationError):
            return None

    def endpoint(self, workspace: str, name: str) -> str:
        """The address for predictions. The caller's key decides the workspace, so it is not part of the address."""
        return f"{self._base_url}/predict/{name}"

    def logs(self, workspace: str, name: str, revision: int, *, lines: int = 200) -> list[str]:
        """The last lines of a revision's runner."""
        return tail(self._paths.log(workspace, name, revision), lines)

    def remove(self, workspace: str, name: str) -> None:
        """Drop one endpoint from the stated set; nothing happens when it is not in it."""
        with self.exclusive():
            current = self.desired()
            if current is not None:
                kept = tuple(endpoint for endpoint in current.endpoints if endpoint.key != (workspace, name))
                self.apply(current.model_copy(update={"endpoints": kept}))
