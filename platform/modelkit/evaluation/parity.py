"""Whether a bundle still answers as its model did when it was trained: replay of the golden set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelkit import bundle as bundles
from modelkit import catalog
from modelkit.contracts import Predictor
from modelkit.errors import UserError

#: Largest difference of a probability that float32 on another library may show.
FP32_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Parity:
    """`agree` of `golden` answers have the same label; drift is the difference of class probabilities."""

    golden: int
    agree: int
    max_drift: float
    mean_drift: float
    ok: bool

    @property
    def agreement(self) -> float:
        """Part of the golden answers with the same label."""
        return self.agree / self.golden if self.golden else 1.0

    def as_json(self) -> dict[str, Any]:
        """The artifact `parity`."""
        return asdict(self)


def compare(
    expected: Sequence[Mapping[str, Any]],
    answers: Sequence[Mapping[str, Any]],
    *,
    min_agreement: float = 1.0,
    max_drift: float = FP32_TOLERANCE,
) -> Parity:
    """Compare answers that hold `label` and `scores`; `ok` says whether they are within the bounds."""
    drifts = [
        abs(score - answer["scores"][label])
        for wanted, answer in zip(expected, answers, strict=True)
        for label, score in wanted["scores"].items()
    ]
    agree = sum(wanted["label"] == answer["label"] for wanted, answer in zip(expected, answers, strict=True))
    worst = max(drifts, default=0.0)
    return Parity(
        golden=len(expected),
        agree=agree,
        max_drift=worst,
        mean_drift=sum(drifts) / len(drifts) if drifts else 0.0,
        # A NaN fails: it is not below any bound.
        ok=worst <= max_drift and agree >= min_agreement * len(expected),
    )


def open_predictor(bundle: Path, threads: int = 1) -> Predictor:
    """The predictor of a bundle's task; raises UserError `bundle_invalid`."""
    manifest = bundles.read(bundle)
    predictor: Predictor = catalog.task_module(manifest.task, "predict").Predictor(bundle, threads=threads)
    return predictor


def replay(
    bundle: Path, *, predictor: Predictor | None = None, min_agreement: float = 1.0, max_drift: float = FP32_TOLERANCE
) -> Parity:
    """Answer the golden set with a predictor, by default a fresh one, opened from disk."""
    golden = bundles.golden(bundle)
    answers = (predictor or open_predictor(bundle)).predict(golden.inputs)
    return compare(golden.outputs, answers, min_agreement=min_agreement, max_drift=max_drift)


def require(parity: Parity) -> None:
    """Raise UserError `parity_failed` unless the replay was within its bounds."""
    if not parity.ok:
        raise UserError(
            "parity_failed",
            "The exported model agrees with the trained one on {agree} of {golden} golden answers, "
            "with probabilities up to {drift:.4f} apart, so it was not published.",
            "Try another base model, or report this with the job's log.",
            agree=parity.agree,
            golden=parity.golden,
            drift=parity.max_drift,
        )
