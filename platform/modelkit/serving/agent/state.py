"""What must survive the agent's own death: which processes are its own and where traffic points.

Without it a restarted agent would start every model a second time, or forget the last good revision that answers
although the control plane desires another one.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelkit.serving.agent.processes import ProcessId
from modelkit.serving.files import write_atomic
from modelkit.serving.plan import DesiredRevision, GoldenReplay, Limits, Placement, Tuning

logger = logging.getLogger("modelkit.serving.agent")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class SavedRevision(_Model):
    spec: DesiredRevision
    checked: bool
    asleep: bool = False
    #: Whether it runs in the shared process, which may differ from what its endpoint wishes by now.
    shared: bool = False
    #: By replica; None for one that did not run.
    processes: tuple[ProcessId | None, ...] = ()
    golden: GoldenReplay | None = None
    started_s: float | None = None
    tuning: Tuning | None = None


class SavedEndpoint(_Model):
    workspace: str
    name: str
    limits: Limits = Limits()
    placement: Placement = Placement()
    weights: dict[int, int] = Field(default_factory=dict)
    weights_since: float = 0.0
    slots: tuple[int, ...] = ()
    revisions: tuple[SavedRevision, ...] = ()


class SavedFront(_Model):
    process: ProcessId | None = None
    host: str = ""
    port: int = 0


class SavedState(_Model):
    routing_generation: int = 0
    front: SavedFront = SavedFront()
    endpoints: tuple[SavedEndpoint, ...] = ()


def load(path: Path) -> SavedState:
    """The saved state; an empty one when there is none or it cannot be read."""
    try:
        return SavedState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return SavedState()
    except (OSError, ValidationError) as error:
        logger.error("The state of the last run cannot be read and is started anew: %s", error)
        return SavedState()


def save(path: Path, state: SavedState) -> None:
    write_atomic(path, state.model_dump_json(indent=1).encode())
