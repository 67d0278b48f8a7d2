"""The training loop of the method full: all of the encoder and the head, from the Instant head on."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from modelkit.contracts import RunContext
from modelkit.errors import Stopped, UserError
from modelkit.tasks.text_classification.data import by_length, collate, plan_epoch
from modelkit.tasks.text_classification.metrics import measure_logits
from modelkit.tasks.text_classification.model import Classifier, parameter_groups
from modelkit.tasks.text_classification.spec import SPEC, Params
from modelkit.training.checkpoints import Checkpoint, CheckpointStore
from modelkit.training.early_stop import BestSoFar
from modelkit.training.oom import MicroBatch, is_out_of_memory
from modelkit.training.pace import Pace
from modelkit.training.precision import autocast
from modelkit.training.schedule import learning_rate_factor
from modelkit.wording import say

log = logging.getLogger(__name__)

#: A kill loses at most this much training.
SAVE_EVERY_S = 60.0
#: Points of the training curve.
CURVE_POINTS = 200


@dataclass(frozen=True)
class Encoded:
    """A split as the model takes it: token ids, their lengths and the targets of its rows."""

    ids: list[list[int]]
    lengths: NDArray[np.int64]
    targets: NDArray[np.int64]

    @classmethod
    def of(cls, ids: list[list[int]], targets: NDArray[np.int64]) -> Encoded:
        return cls(ids, np.array([len(tokens) for tokens in ids], dtype=np.int64), targets)

    def __len__(self) -> int:
        return len(self.ids)


def predict_logits(
    ctx: RunContext,
    model: Classifier,
    encoded: Encoded,
    *,
    pad_id: int,
    rows: int,
    precision: Literal["bf16", "fp32"],
    span: tuple[float, float] | None = None,
) -> NDArray[np.float32]:
    """Logits (rows, classes) in the order of `encoded`. Raises Stopped; a progress `span` is reported if given."""
    model.eval()
    result = np.empty((len(encoded), model.head.out_features), dtype=np.float32)
    micro = MicroBatch(rows, ctx.reporter)
    pace = Pace(ctx.reporter, start=span[0], end=span[1], rows=len(encoded)) if span else None

    def compute(positions: Sequence[int]) -> None:
        with torch.inference_mode(), autocast(ctx.device, precision):
            batch = collate([encoded.ids[position] for position in positions], pad_id, ctx.device)
            result[positions] = model(**batch).float().cpu().numpy()

    for positions in by_length(encoded.lengths, rows):
        if ctx.reporter.should_stop():
            raise Stopped("Stopped while evaluating; the checkpoint from before it is on disk.")
        micro.run(positions, compute)
        if pace:
            pace.advance(len(positions))
    return result


class FineTuning:
    """One run of the loop. `train` leaves the best weights in the model and returns nothing else."""

    def __init__(
        self,
        ctx: RunContext,
        params: Params,
        model: Classifier,
        *,
        train: Encoded,
        validation: Encoded,
        weights: torch.Tensor,
        pad_id: int,
        precision: Literal["bf16", "fp32"],
        budget_s: float | None,
        span: tuple[float, float],
    ) -> None:
        self.ctx, self.params, self.model = ctx, params, model
        self.train_rows, self.validation_rows = train, validation
        self.weights = weights.to(ctx.device)
        self.pad_id, self.precision, self.budget_s = pad_id, precision, budget_s
        self.update_rows = params.batch_size * params.accumulation
        self.updates = -(-len(train) // self.update_rows)
        self.steps = self.updates * params.epochs
        self.span = span
        self.store = CheckpointStore(ctx.scratch / "checkpoints")
        self.best = BestSoFar(SPEC.metric(params.optimise_for).higher_is_better, params.patience)
        self.micro = MicroBatch(params.batch_size, ctx.reporter)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(
                model,
                learning_rate=params.learning_rate,
                head_learning_rate=params.head_learning_rate,
                weight_decay=params.weight_decay,
            ),
            fused=True,
        )
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.names = self._trained_names()
        self.step = 0
        self.validated_step = 0
        self.spent_s = 0.0
        self.curve_loss, self.curve_steps = 0.0, 0

    def _trained_names(self) -> list[str]:
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        return [names[id(parameter)] for parameter in self.trained]

    # --- the loop ---------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Train to the last epoch, the end of patience or of the time budget. Raises Stopped and UserError."""
        torch.manual_seed(self.params.seed)
        self._resume()
        began, before = time.monotonic(), self.spent_s
        saved_at = began
        pace = Pace(
            self.ctx.reporter,
            start=self.span[0],
            end=self.span[1],
            rows=len(self.train_rows) * self.params.epochs,
            done=round(self.step / self.updates * len(self.train_rows)),
            steps=self.steps,
            epochs=self.params.epochs,
        )
        while not self.best.exhausted:
            if self.step and self.step % self.updates == 0 and self.validated_step != self.step:
                self._validate()
                saved_at = time.monotonic()
            if self.step >= self.steps or self.best.exhausted:
                break
            epoch, position = divmod(self.step, self.updates)
            plan = plan_epoch(self.train_rows.lengths, self.update_rows, seed=self.params.seed, epoch=epoch)
            for rows in plan[position:]:
                self.spent_s = before + time.monotonic() - began
                if self.ctx.reporter.should_stop():
                    self._save()
                    raise Stopped(f"Stopped at step {self.step} of {self.steps}; the checkpoint is on disk.")
                if self.budget_s is not None and self.spent_s >= self.budget_s:
                    self._finish_early()
                    return
                if time.monotonic() - saved_at > SAVE_EVERY_S:
                    self._save()
                    saved_at = time.monotonic()
                self._update(rows)
                self._curve()
                pace.advance(len(rows), step=self.step, epoch=self.step / self.updates)
            self.spent_s = before + time.monotonic() - began
        self._restore_best()

    def _update(self, rows: NDArray[np.int64]) -> None:
        """One step of the optimizer over `rows`, in as many pieces as memory asks for."""
        self.model.train()
        params = self.params
        total = self.weights[torch.from_numpy(self.train_rows.targets[rows]).to(self.ctx.device)].sum()
        loss = torch.zeros((), device=self.ctx.device)

        def restart() -> None:
            self.optimizer.zero_grad(set_to_none=True)
            loss.zero_()

        def compute(piece: Sequence[int]) -> None:
            batch = collate([self.train_rows.ids[row] for row in piece], self.pad_id, self.ctx.device)
            targets = torch.from_numpy(self.train_rows.targets[piece]).to(self.ctx.device)
            with autocast(self.ctx.device, self.precision):
                logits = self.model(**batch)
            part = torch.nn.functional.cross_entropy(
                logits, targets, weight=self.weights, reduction="sum", label_smoothing=params.label_smoothing
            )
            part = part / total
            part.backward()
            loss.add_(part.detach())

        restart()
        self.micro.run(rows, compute, restart=restart)
        value = float(loss)
        if not np.isfinite(value):
            raise UserError(
                "loss_not_finite",
                "The loss became {value} at step {step}, so training cannot go on.",
                "Lower the learning rates, lengthen the warm-up, or set the precision to fp32.",
                field="params.learning_rate",
                value=value,
                step=self.step + 1,
            )
        if params.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.trained, params.clip_norm)
        factor = learning_rate_factor(self.step, self.steps, schedule=params.schedule, warmup=params.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        try:
            self.optimizer.step()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            # Half of the weights may have moved: only a checkpoint is safe to go on from.
            raise UserError(
                "out_of_memory",
                "Memory ran out while the weights were updated.",
                "Free memory on the worker or choose a smaller base model, then resume the job.",
            ) from error
        self.step += 1
        self.curve_loss += value
        self.curve_steps += 1

    def _curve(self) -> None:
        every = max(1, self.steps // CURVE_POINTS)
        if self.step % every and self.step % self.updates:
            return
        self.ctx.reporter.metrics(
            {"loss": self.curve_loss / self.curve_steps, "learning_rate": self.optimizer.param_groups[0]["lr"]},
            step=self.step,
            epoch=self.step / self.updates,
        )
        self.curve_loss, self.curve_steps = 0.0, 0

    # --- validation, checkpoints, the best --------------------------------------------------------------------------

    def _validate(self) -> None:
        """Measure on validation, remember the best and save."""
        values: dict[str, float] = {}
        better = False
        if len(self.validation_rows):
            generator = torch.get_rng_state()  # validation must not shift the dropout of what follows
            try:
                logits = predict_logits(
                    self.ctx,
                    self.model,
                    self.validation_rows,
                    pad_id=self.pad_id,
                    rows=self.params.batch_size,
                    precision=self.precision,
                )
            except Stopped:
                self._save()
                raise
            finally:
                torch.set_rng_state(generator)
            values = measure_logits(self.validation_rows.targets, logits)
            better = self.best.observe(values[self.params.optimise_for], self.step)
            self.ctx.reporter.metrics(values, step=self.step, epoch=self.step / self.updates, split="validation")
            log.info(
                "Step %d: validation accuracy %.4f, loss %.4f%s",
                self.step,
                values["accuracy"],
                values["loss"],
                ", the best so far" if better else "",
            )
        self.validated_step = self.step
        self._save(values)

    def _save(self, values: dict[str, float] | None = None) -> Path:
        tensors = dict(zip((f"model.{name}" for name in self.names), self.trained, strict=True))
        for number, entry in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": torch.as_tensor(value) for key, value in entry.items()}
        tensors["rng.cpu"] = torch.get_rng_state()
        if self.ctx.device.startswith("cuda"):
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.ctx.device)
        state = {
            "best": self.best.state(),
            "validated_step": self.validated_step,
            "spent_s": self.spent_s,
            "micro_rows": self.micro.rows,
            "curve": [self.curve_loss, self.curve_steps],
        }
        path = self.store.save(self.step, tensors, state, best_step=self.best.step)
        self.ctx.reporter.checkpoint(path, step=self.step, epoch=self.step / self.updates, values=values or {})
        return path

    def _load_model(self, checkpoint: Checkpoint) -> None:
        with torch.no_grad():
            for name, parameter in zip(self.names, self.trained, strict=True):
                parameter.copy_(checkpoint.tensors[f"model.{name}"])

    def _resume(self) -> None:
        checkpoint = self.store.newest()
        if checkpoint is None:
            return
        self._load_model(checkpoint)
        entries: dict[int, dict[str, Any]] = {}
        for name, tensor in checkpoint.tensors.items():
            part, _, rest = name.partition(".")
            if part == "optimizer":
                number, _, key = rest.partition(".")
                entries.setdefault(int(number), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": entries, "param_groups": groups})
        torch.set_rng_state(checkpoint.tensors["rng.cpu"])
        if "rng.cuda" in checkpoint.tensors and self.ctx.device.startswith("cuda"):
            torch.cuda.set_rng_state(checkpoint.tensors["rng.cuda"], self.ctx.device)
        state = checkpoint.state
        self.step = checkpoint.step
        self.validated_step = state["validated_step"]
        self.best = BestSoFar.restore(state["best"])
        self.spent_s = state["spent_s"]
        self.micro.rows = state["micro_rows"]
        self.curve_loss, self.curve_steps = state["curve"]
        log.info("Resuming from step %d of %d", self.step, self.steps)
        self.ctx.reporter.notice(
            "resumed", say("Going on from the checkpoint of step {step} of {steps}.", step=self.step, steps=self.steps)
        )

    def _finish_early(self) -> None:
        if self.validated_step != self.step:
            self._validate()
        self.ctx.reporter.notice(
            "budget_spent",
            say(
                "The time budget of {seconds:.0f} s was spent at step {step} of {steps}; the best "
                "checkpoint so far becomes the model.",
                seconds=self.budget_s,
                step=self.step,
                steps=self.steps,
            ),
            level="warning",
        )
        self._restore_best()

    def _restore_best(self) -> None:
        """Put the weights of the best checkpoint into the model, unless they are there already."""
        if self.best.exhausted:
            self.ctx.reporter.notice(
                "stopped_early",
                say(
                    "{epochs} epochs brought nothing better than step {step}; training ended there.",
                    epochs=self.best.waited,
                    step=self.best.step,
                ),
            )
        if self.best.step in (-1, self.step):
            return
        checkpoint = self.store.load(self.best.step)
        if checkpoint is None:
            self.ctx.reporter.notice(
                "best_checkpoint_lost",
                say("The best checkpoint can no longer be read; the last weights become the model."),
                level="warning",
            )
            return
        log.info("Restoring the best checkpoint, step %d", self.best.step)
        self._load_model(checkpoint)
