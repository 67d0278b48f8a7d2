"""What a tracking server must do for a job: hold its run, its curves, and the versions it publishes. Light.

Every verb may be repeated: a worker that died in the middle is followed by one that says the same again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol


class SinkUnavailable(Exception):
    """The server cannot be reached or is busy; the same call later may do."""


class RunForgotten(SinkUnavailable):
    """The server does not know the run any more (its data was lost or moved); opening it anew helps."""


class SinkRefused(Exception):
    """The server answered that it will not; repeating is of no use."""


@dataclass(frozen=True)
class Point:
    """One value of a curve. `time_ms` is milliseconds since 1970."""

    name: str
    value: float
    step: int
    time_ms: int


class RunSink(Protocol):
    """`modelkit.tracking.mlflow.MlflowSink` is the one we ship."""

    def run_open(self, *, group: str, key: str, title: str, params: Mapping[str, str], tags: Mapping[str, str]) -> str:
        """The id of the run known by `key`, made if there is none; `group` collects the runs of a workspace."""

    def points_log(self, run_id: str, points: Sequence[Point]) -> None:
        """Add to the run's curves; a point that is there already is not doubled."""

    def run_close(self, run_id: str, status: Literal["finished", "failed", "killed"]) -> None:
        """Mark how the run ended."""

    def version_publish(
        self, *, run_id: str, key: str, name: str, bundle: Path, inputs: Sequence[str], tags: Mapping[str, str]
    ) -> int:
        """Register the bundle under `name` and return the version's number; the same `key` gives the same version.

        `inputs` are the columns that the model reads, in order.
        """
