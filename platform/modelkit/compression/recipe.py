"""The recipe of every compression job: apply a method, score baseline and variant alike, seal, check parity."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from modelkit import bundle as bundles
from modelkit import catalog
from modelkit.contracts import DatasetRef, Outcome, Params, RunContext
from modelkit.errors import Stopped, UserError
from modelkit.evaluation import parity, score
from modelkit.evaluation import rows as evaluated
from modelkit.training.checkpoints import disk_full_is_user_error
from modelkit.wording import say

log = logging.getLogger(__name__)

#: A variant may change probabilities, but not be another model: the golden answers it must share.
MIN_AGREEMENT = 0.8


def run(
    ctx: RunContext,
    *,
    source: Path,
    target: Path,
    method: str,
    params: Params,
    dataset: DatasetRef | None,
    lineage: Mapping[str, Any],
) -> Outcome:
    """Write the variant of `source` to `target`.

    Raises UserError `method_unknown`, `method_refused`, `bundle_damaged`, `variant_differs`; Stopped when asked to.
    """
    reporter = ctx.reporter
    reporter.phase("preparing")
    manifest = bundles.verify(source)
    spec = catalog.methods().get(method)
    if spec is None:
        raise UserError(
            "method_unknown",
            "There is no compression method {method}.",
            "Choose of: {methods}.",
            method=method,
            methods=", ".join(catalog.methods()),
        )
    applies = spec.applies(manifest, ctx.device)
    if not applies.yes:
        raise UserError(
            "method_refused",
            "{title} cannot be used here: {reason}",
            "Choose another one.",
            title=spec.title,
            reason=applies.reason,
        )
    _go_on(ctx, 0.02)

    reporter.phase("compressing")
    with disk_full_is_user_error():
        shutil.rmtree(target, ignore_errors=True)
        catalog.method_module(method).apply(ctx, source, target, params, dataset)
        variant = bundles.read(target)
    _go_on(ctx, 0.4)

    reporter.phase("evaluating")
    rows = score.choose_rows(source, dataset, seed=ctx.seed)
    baseline_score = score.score(source, rows)
    _go_on(ctx, 0.55)
    variant_score = score.score(target, rows, baseline=baseline_score)
    _go_on(ctx, 0.7)
    costs = score.measure_costs({"baseline": source, "variant": target}, rows.inputs)
    scores: dict[str, dict[str, Any]] = {
        "baseline": {**baseline_score.values, **costs["baseline"]},
        "variant": {**variant_score.values, **costs["variant"]},
    }
    worse = score.drawbacks(scores["baseline"], scores["variant"])
    _artifact(ctx, "score", {**scores, "split": rows.split, "rows": len(rows.inputs), "worse": worse})
    reporter.metrics(scores["variant"], step=0, split=rows.split)
    if worse:
        reporter.notice(
            "variant_worse",
            say("The variant is worse than its parent in {metrics}.", metrics=", ".join(worse)),
            level="warning",
        )
    _go_on(ctx, 0.9)

    reporter.phase("exporting")
    replayed = parity.replay(target, min_agreement=MIN_AGREEMENT, max_drift=1.0)
    _artifact(ctx, "parity", replayed.as_json())
    if not replayed.ok:
        raise UserError(
            "variant_differs",
            "The variant shares only {agree} of {golden} golden answers with the model as trained.",
            "This method does not suit this model: choose another one.",
            agree=replayed.agree,
            golden=replayed.golden,
        )
    split: Literal["test", "validation"] = "validation" if rows.split == "validation" else "test"
    quality = {name: scores["variant"][name] for name in manifest.metrics if name in scores["variant"]}
    # Serving holds the variant to what was measured here, not to the model it came from.
    step = {"method": method, "params": params.model_dump(mode="json"), "parity": replayed.as_json()}
    _write_evaluated(target, rows, variant_score.answers)
    with disk_full_is_user_error():
        bundles.seal(
            target,
            variant.model_copy(
                update={
                    "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
                    "metrics": quality or dict(manifest.metrics),
                    "metrics_split": split if quality else manifest.metrics_split,
                    "lineage": {**manifest.lineage, **lineage, "parent": {"digest": manifest.digest}},
                    "recipe": [*manifest.recipe, step],
                }
            ),
        )

    reporter.phase("parity")
    bundles.verify(target)
    bound = replayed.max_drift + parity.FP32_TOLERANCE
    parity.require(parity.replay(target, min_agreement=MIN_AGREEMENT, max_drift=bound))
    reporter.progress(1.0)
    log.info("Variant: %d of %d bytes", variant.size_bytes, manifest.size_bytes)
    return Outcome(bundle=target, metrics=scores["variant"], split=split)


def _write_evaluated(target: Path, rows: score.Rows, answers: list[dict[str, Any]]) -> None:
    # A method may have copied its parent's: those are not this variant's answers.
    (target / bundles.EVALUATED).unlink(missing_ok=True)
    if rows.truth and "label" in answers[0]:
        evaluated.write(
            target,
            split=rows.split,
            row_ids=rows.ids,
            truth=rows.truth,
            predicted=[answer["label"] for answer in answers],
            scores=[answer["score"] for answer in answers],
        )


def _go_on(ctx: RunContext, fraction: float) -> None:
    ctx.reporter.progress(fraction)
    if ctx.reporter.should_stop():
        raise Stopped("Stopped between two parts of the compression; it begins anew when resumed.")


def _artifact(ctx: RunContext, name: str, content: Mapping[str, Any]) -> None:
    path = ctx.scratch / "artifacts" / f"{name}.json"
    with disk_full_is_user_error():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, ensure_ascii=False))
    ctx.reporter.artifact(name, path, kind="json")
