"""The recipe: from a dataset version and a base model to a bundle that answers."""

from __future__ import annotations

import json
import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from tokenizers import Tokenizer

from modelkit.contracts import Outcome, RunContext, TrainJob
from modelkit.evaluation import parity
from modelkit.evaluation import rows as evaluated_rows
from modelkit.tasks.text_classification import data, export, head, metrics
from modelkit.tasks.text_classification.finetune import Encoded, FineTuning, predict_logits
from modelkit.tasks.text_classification.model import Base, Classifier, freeze_embeddings, load_base, load_tokenizer
from modelkit.tasks.text_classification.predict import softmax
from modelkit.tasks.text_classification.spec import SPEC, Params
from modelkit.training.checkpoints import disk_full_is_user_error
from modelkit.training.precision import choose_precision
from modelkit.wording import say

log = logging.getLogger(__name__)

SHOWN_ROWS = 16
#: Texts in the base model's own language stay below a hundredth.
UNKNOWN_WORTH_A_WARNING = 0.05
#: Where the progress bar stands when the named part begins.
EMBEDDING, FINE_TUNING, EVALUATING, EXPORTING, PARITY = 0.03, 0.2, 0.9, 0.95, 0.98


def run(ctx: RunContext, job: TrainJob) -> Outcome:
    """See `modelkit.contracts.Recipe`."""
    params = cast(Params, job.params)
    reporter = ctx.reporter

    reporter.phase("preparing")
    torch.set_num_threads(ctx.threads)
    torch.manual_seed(params.seed)
    dataset = data.load(job.dataset)
    precision = choose_precision(params.precision, ctx.device)
    log.info("%d training rows, %d classes, %s on %s", len(dataset.train), len(dataset.labels), precision, ctx.device)

    reporter.phase("loading")
    base = load_base(job.base_model, params.max_length)
    model = Classifier(base.encoder, base.width, len(dataset.labels)).to(ctx.device)
    train, validation = (
        Encoded.of(data.tokenize(base.tokenizer, part.texts, base.pad_id), part.targets)
        for part in (dataset.train, dataset.validation)
    )
    _show_first_batch(ctx, params, base.tokenizer, base.pad_id, dataset, train)
    _warn_of_unknown_words(ctx, job, base, train)

    reporter.phase("training")
    reporter.progress(EMBEDDING)
    _train(ctx, params, model, base, train, validation, precision, job.budget_s)

    reporter.phase("evaluating")
    split: Literal["test", "validation"] = "test" if len(dataset.test) else "validation"
    part = dataset.test if len(dataset.test) else dataset.validation if len(dataset.validation) else dataset.train
    evaluated = Encoded.of(data.tokenize(base.tokenizer, part.texts, base.pad_id), part.targets)
    # In float32, because that is what the bundle computes in.
    logits = predict_logits(
        ctx,
        model,
        evaluated,
        pad_id=base.pad_id,
        rows=params.batch_size,
        precision="fp32",
        span=(EVALUATING, EXPORTING),
    )
    values = metrics.measure_logits(part.targets, logits)
    reporter.metrics(values, step=0, split=split)
    probabilities = softmax(logits)
    for name, content in metrics.report(dataset.labels, split, part, probabilities, params.seed).items():
        _artifact(ctx, name, content)
    write_evaluated = partial(
        evaluated_rows.write,
        split=split,
        row_ids=part.row_ids,
        truth=[dataset.labels[target] for target in part.targets],
        predicted=[dataset.labels[best] for best in probabilities.argmax(axis=1)],
        scores=probabilities.max(axis=1),
    )

    reporter.phase("exporting")
    reporter.progress(EXPORTING)
    bundle = ctx.scratch / "bundle"
    export.write_bundle(
        bundle,
        model,
        base.tokenizer,
        pad_id=base.pad_id,
        max_length=params.max_length,
        name=job.model_name,
        labels=dataset.labels,
        golden_texts=export.choose_golden(part, params.seed),
        metrics=values,
        metrics_split=split,
        lineage={
            "dataset": {"ref": job.dataset.ref, "digest": job.dataset.digest},
            "base_model": {"id": job.base_model.id, "revision": job.base_model.revision},
            "params": params.model_dump(mode="json"),
            **job.lineage,
        },
        write_evaluated=write_evaluated,
    )

    reporter.phase("parity")
    reporter.progress(PARITY)
    replayed = parity.replay(bundle)
    _artifact(ctx, "parity", replayed.as_json())
    parity.require(replayed)
    shutil.rmtree(ctx.scratch / "checkpoints" / "embeddings", ignore_errors=True)
    reporter.progress(1.0)
    return Outcome(bundle=bundle, metrics=values, split=split)


def _train(
    ctx: RunContext,
    params: Params,
    model: Classifier,
    base: Base,
    train: Encoded,
    validation: Encoded,
    precision: Literal["bf16", "fp32"],
    budget_s: float | None,
) -> None:
    """Fit the Instant head; then either refit it on all rows, or fine-tune everything from it."""
    instant = params.method == "instant"
    classes = model.head.out_features
    weights = head.class_weights(train.targets, classes, params.class_weights)
    embeddings = head.embed(
        ctx,
        model,
        train.ids + validation.ids,
        pad_id=base.pad_id,
        rows=params.batch_size,
        precision=precision,
        span=(EMBEDDING, EVALUATING if instant else FINE_TUNING),
    )
    own, held_out = embeddings[: len(train)], embeddings[len(train) :]
    chosen, curve = head.choose(
        ctx,
        own,
        train.targets,
        (held_out, validation.targets) if len(validation) else None,
        weights=weights,
        optimise_for=params.optimise_for,
        higher_is_better=SPEC.metric(params.optimise_for).higher_is_better,
    )
    _artifact(ctx, "head_curve", {"chosen": chosen.strength, "tried": curve})
    if instant:
        for number, point in enumerate(curve, start=1):
            values = {name: value for name, value in point.items() if name != "strength"}
            ctx.reporter.metrics(values, step=number, split="validation")
        targets = torch.cat([torch.from_numpy(train.targets), torch.from_numpy(validation.targets)]).numpy()
        weights = head.class_weights(targets, classes, params.class_weights)
        chosen = head.fit(
            embeddings, targets, weights, chosen.strength, start=chosen, should_stop=ctx.reporter.should_stop
        )
        values = metrics.measure_logits(targets, chosen.logits(embeddings))
        ctx.reporter.metrics(values, step=len(curve) + 1, split="train")
    with torch.no_grad():
        model.head.weight.copy_(chosen.weight)
        model.head.bias.copy_(chosen.bias)
    if instant:
        return
    if params.frozen_embeddings:
        freeze_embeddings(model.encoder)
    # The head of a full run is fitted without the validation rows: they choose the best checkpoint.
    FineTuning(
        ctx,
        params,
        model,
        train=train,
        validation=validation,
        weights=weights,
        pad_id=base.pad_id,
        precision=precision,
        budget_s=budget_s,
        span=(FINE_TUNING, EVALUATING),
    ).train()


def preview(ctx: RunContext, job: TrainJob) -> None:
    """The artifact `first_batch` without a training: what `run` would feed first, from the same tokenizer and collator.

    Reads as `run` does and raises the same UserErrors, but loads no weights.
    """
    params = cast(Params, job.params)
    dataset = data.load(job.dataset)
    tokenizer, pad_id = load_tokenizer(job.base_model, params.max_length)
    train = Encoded.of(data.tokenize(tokenizer, dataset.train.texts, pad_id), dataset.train.targets)
    _show_first_batch(ctx, params, tokenizer, pad_id, dataset, train)


def _show_first_batch(
    ctx: RunContext, params: Params, tokenizer: Tokenizer, pad_id: int, dataset: data.Dataset, train: Encoded
) -> None:
    """The artifact `first_batch`: rows that went through the collator, read back from its tensors."""
    rows = data.plan_epoch(train.lengths, params.batch_size, seed=params.seed, epoch=0)[0][:SHOWN_ROWS]
    batch = data.collate([train.ids[row] for row in rows], pad_id, "cpu")
    texts = [dataset.train.texts[row] for row in rows]
    labels = [dataset.labels[train.targets[row]] for row in rows]
    content = {
        "rows": data.describe_batch(batch, texts, labels, tokenizer),
        "shape": [len(rows), int(batch["input_ids"].shape[1])],
        "max_length": params.max_length,
        "truncated_fraction": float((train.lengths >= params.max_length).mean()),
        "mean_tokens": float(train.lengths.mean()),
        "unknown_fraction": data.unknown_fraction(tokenizer, train.ids),
        "train_rows": len(train),
    }
    _artifact(ctx, "first_batch", content)


def _warn_of_unknown_words(ctx: RunContext, job: TrainJob, base: Base, train: Encoded) -> None:
    """A base model of another language reads most words as one and the same token, and nothing else says so."""
    unknown = data.unknown_fraction(base.tokenizer, train.ids)
    if unknown > UNKNOWN_WORTH_A_WARNING:
        ctx.reporter.notice(
            "unknown_tokens",
            say(
                "{unknown:.0%} of the tokens are unknown to {model}: it cannot tell those words apart. "
                "Choose a base model made for the language of your texts.",
                unknown=unknown,
                model=job.base_model.id,
            ),
            level="warning",
        )


def _artifact(ctx: RunContext, name: str, content: dict[str, Any]) -> Path:
    path = ctx.scratch / "artifacts" / f"{name}.json"
    with disk_full_is_user_error():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, ensure_ascii=False))
    ctx.reporter.artifact(name, path, kind="json")
    return path
