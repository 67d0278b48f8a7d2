"""Remembers the best validation result and says when waiting for a better one is over."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class BestSoFar:
    """`patience` epochs without a better `value` end training; 0 never does. `state` and `restore` carry it over."""

    higher_is_better: bool
    patience: int = 0
    value: float | None = None
    step: int = -1
    waited: int = 0

    def observe(self, value: float, step: int) -> bool:
        """Take the result of an epoch; returns whether it is the best so far. NaN never is."""
        better = value == value and (
            self.value is None or (value > self.value if self.higher_is_better else value < self.value)
        )
        if better:
            self.value, self.step, self.waited = value, step, 0
        else:
            self.waited += 1
        return better

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return 0 < self.patience <= self.waited

    def state(self) -> dict[str, float | int | bool | None]:
        """JSON for a checkpoint."""
        return asdict(self)

    @classmethod
    def restore(cls, state: dict[str, float | int | bool | None]) -> BestSoFar:
        """The inverse of `state`."""
        return cls(**state)  # type: ignore[arg-type]
