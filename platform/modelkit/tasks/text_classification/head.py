"""Instant: embeddings of a frozen encoder and the linear head that fits them best.

The head is multinomial logistic regression with an L2 penalty on its weights, fitted by L-BFGS; what the penalty
should be, validation says. On few-shot intents such heads are close to full fine-tuning: Casanueva et al., Efficient
Intent Detection with Dual Sentence Encoders, 2020.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from modelkit.contracts import RunContext
from modelkit.errors import Stopped
from modelkit.tasks.text_classification.data import by_length, collate
from modelkit.tasks.text_classification.metrics import measure_logits
from modelkit.tasks.text_classification.model import Classifier
from modelkit.training.checkpoints import CheckpointStore
from modelkit.training.oom import MicroBatch
from modelkit.training.pace import Pace
from modelkit.training.precision import autocast

log = logging.getLogger(__name__)

#: Inverse strengths of the penalty that are tried, as scikit-learn's `C`; each fit starts from the one before.
STRENGTHS = (1.0, 3.0, 6.0, 12.0, 25.0, 50.0, 100.0)
DEFAULT_STRENGTH = 12.0
SAVE_EVERY_S = 60.0


@dataclass(frozen=True)
class Head:
    """A fitted head: `weight` (classes, width), `bias` (classes), and the strength it was fitted with."""

    weight: torch.Tensor
    bias: torch.Tensor
    strength: float

    def logits(self, embeddings: torch.Tensor) -> NDArray[np.float32]:
        """Logits (rows, classes)."""
        result: NDArray[np.float32] = (embeddings @ self.weight.T + self.bias).numpy()
        return result


def class_weights(targets: NDArray[np.int64], classes: int, mode: Literal["none", "balanced"]) -> torch.Tensor:
    """Weight of each class (classes): all 1, or rows / (classes that occur * rows of the class)."""
    if mode == "none":
        return torch.ones(classes)
    counts = np.bincount(targets, minlength=classes)
    weights = np.divide(len(targets), (counts > 0).sum() * counts, out=np.zeros(classes), where=counts > 0)
    return torch.from_numpy(weights).float()


def embed(
    ctx: RunContext,
    model: Classifier,
    ids: Sequence[Sequence[int]],
    *,
    pad_id: int,
    rows: int,
    precision: Literal["bf16", "fp32"],
    span: tuple[float, float],
) -> torch.Tensor:
    """Embeddings (rows, width) on the CPU of `ids`, in their order. Goes on where a stopped run had come to."""
    model.eval()
    lengths = np.array([len(tokens) for tokens in ids], dtype=np.int64)
    order = np.concatenate(list(by_length(lengths, rows)))
    store = CheckpointStore(ctx.scratch / "checkpoints" / "embeddings", keep=1)
    result = torch.zeros(len(ids), model.head.in_features)
    done = 0
    if (saved := store.newest()) is not None and saved.tensors["embeddings"].shape == result.shape:
        result, done = saved.tensors["embeddings"], saved.step
    micro = MicroBatch(rows, ctx.reporter)
    pace = Pace(ctx.reporter, start=span[0], end=span[1], rows=len(ids), done=done)
    saved_at = time.monotonic()

    def compute(positions: Sequence[int]) -> None:
        batch = collate([ids[position] for position in positions], pad_id, ctx.device)
        with torch.inference_mode(), autocast(ctx.device, precision):
            result[torch.as_tensor(positions)] = model.embed(**batch).cpu()

    while done < len(order):
        stop = ctx.reporter.should_stop()
        if stop or time.monotonic() - saved_at > SAVE_EVERY_S:
            path = store.save(done, {"embeddings": result}, {})
            ctx.reporter.checkpoint(path, step=0, epoch=0.0, values={})
            saved_at = time.monotonic()
        if stop:
            raise Stopped("Stopped while embedding; what was embedded is saved.")
        positions = order[done : done + micro.rows]
        micro.run(positions, compute)
        done += len(positions)
        pace.advance(len(positions))
    return result


def fit(
    embeddings: torch.Tensor,
    targets: NDArray[np.int64],
    weights: torch.Tensor,
    strength: float,
    *,
    start: Head | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Head:
    """Minimise the weighted mean cross-entropy plus |weight|^2 / (2 * strength * rows), as scikit-learn does.

    `weights` are per class. Raises Stopped.
    """
    classes = len(weights)
    weight = start.weight.clone() if start else torch.zeros(classes, embeddings.shape[1])
    bias = start.bias.clone() if start else torch.zeros(classes)
    weight.requires_grad_()
    bias.requires_grad_()
    labels = torch.from_numpy(targets)
    total = float(weights[labels].sum())
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=200, history_size=10, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def objective() -> torch.Tensor:
        if should_stop():
            raise Stopped("Stopped while the head was fitted.")
        optimizer.zero_grad()
        logits = torch.addmm(bias, embeddings, weight.T)
        loss = torch.nn.functional.cross_entropy(logits, labels, weight=weights, reduction="sum") / total
        loss = loss + weight.square().sum() / (2.0 * strength * total)
        loss.backward()
        return loss

    optimizer.step(objective)
    return Head(weight.detach(), bias.detach(), strength)


def choose(
    ctx: RunContext,
    embeddings: torch.Tensor,
    targets: NDArray[np.int64],
    validation: tuple[torch.Tensor, NDArray[np.int64]] | None,
    *,
    weights: torch.Tensor,
    optimise_for: str,
    higher_is_better: bool,
) -> tuple[Head, list[dict[str, Any]]]:
    """The head whose strength does best on validation, fitted on train, and the curve of all that were tried.

    A strength is judged by the mean of its own result and its neighbours': on few rows the best single one is partly
    luck. Equal ones go to the lower validation loss. Without validation rows the strength is `DEFAULT_STRENGTH`.
    """
    stop = ctx.reporter.should_stop
    if validation is None:
        return fit(embeddings, targets, weights, DEFAULT_STRENGTH, should_stop=stop), []
    heads: list[Head] = []
    curve: list[dict[str, Any]] = []
    head: Head | None = None
    for strength in STRENGTHS:
        head = fit(embeddings, targets, weights, strength, start=head, should_stop=stop)
        values = measure_logits(validation[1], head.logits(validation[0]))
        curve.append({"strength": strength, **values})
        log.info("Head with strength %g: validation accuracy %.4f", strength, values["accuracy"])
        heads.append(head)
    sign = 1.0 if higher_is_better else -1.0

    def rank(position: int) -> tuple[float, float]:
        around = curve[max(0, position - 1) : position + 2]
        return sign * sum(point[optimise_for] for point in around) / len(around), -curve[position]["loss"]

    return heads[max(range(len(heads)), key=rank)], curve
