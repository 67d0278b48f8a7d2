"""A Reporter that keeps everything in lists: for tests, benchmarks and notebooks. Light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass
class MemoryReporter:
    """Records each call as `{"type": ..., ...}`; `stop_when` looks at the reporter and says when to stop."""

    stop_when: Callable[[MemoryReporter], bool] = lambda reporter: False
    events: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of one type, in order."""
        return [event for event in self.events if event["type"] == kind]

    def _add(self, event: str, /, **values: Any) -> None:
        self.events.append({"type": event, **values})

    def phase(self, name: str) -> None:
        self._add("phase", name=name)

    def progress(
        self,
        fraction: float,
        *,
        step: int | None = None,
        steps: int | None = None,
        epoch: float | None = None,
        epochs: int | None = None,
        rows_per_s: float | None = None,
        eta_s: float | None = None,
    ) -> None:
        self._add(
            "progress",
            fraction=fraction,
            step=step,
            steps=steps,
            epoch=epoch,
            epochs=epochs,
            rows_per_s=rows_per_s,
            eta_s=eta_s,
        )

    def metrics(
        self, values: Mapping[str, float], *, step: int, epoch: float | None = None, split: str = "train"
    ) -> None:
        self._add("metrics", values=dict(values), step=step, epoch=epoch, split=split)

    def artifact(self, name: str, path: Path, *, kind: str) -> None:
        self._add("artifact", name=name, path=path, kind=kind)

    def checkpoint(self, path: Path, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        self._add("checkpoint", path=path, step=step, epoch=epoch, values=dict(values))

    def notice(self, code: str, message: str, *, level: Literal["info", "warning"] = "info") -> None:
        self._add("notice", code=code, message=message, level=level)

    def should_stop(self) -> bool:
        return self.stop_when(self)
