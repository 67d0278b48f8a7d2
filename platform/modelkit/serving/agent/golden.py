"""The golden set of a bundle, asked of a running model and compared with the frozen answers.

A model as trained passes when no class probability moved by more than rounding allows; labels may then differ only
where two classes were that close already. A variant is held to the parity that was measured when it was made: the
frozen answers are those of the model it came from, and what it costs in quality was shown, and accepted, before.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from modelkit import bundle
from modelkit.serving.plan import GoldenReplay, Runtime
from modelkit.serving.wire import Ask, Status, ask
from modelkit.wording import say

#: Largest drift of a class probability that float32 on another processor may show.
TOLERANCE = 0.01
#: Dynamic quantization scales by what is in the batch, so a variant answers a little differently in other company.
COMPANY_DRIFT = 0.15
COMPANY_LABELS = 0.05
#: What computing in bfloat16 may add to a drift, and the share of labels it may change: the user asked for it, or for
#: speed, and the table of candidates shows the price.
BF16_DRIFT = 0.03
BF16_LABELS = 0.02

#: As many as one request carries: the runner cuts them into batches for all of its slots.
_CHUNK = 256
#: Enough to see, before the front is offered the runner, that it answers at all and as trained.
_SAMPLE = 8
_TIMEOUT_S = 60.0


class GoldenFailed(Exception):
    """The model could not be asked; the message says why."""


class Interrupted(GoldenFailed):
    """Who was asked went away; another try may go better."""


def compare(expected: Sequence[dict[str, Any]], given: Sequence[dict[str, Any]]) -> GoldenReplay:
    """Agreement of labels and the largest drift of a probability; a missing class counts as drift 1."""
    if len(expected) != len(given):
        raise GoldenFailed(
            say("{given} answers came for {expected} golden inputs.", given=len(given), expected=len(expected))
        )
    agree = sum(a["label"] == b["label"] for a, b in zip(expected, given, strict=True))
    drift = 0.0
    for a, b in zip(expected, given, strict=True):
        scores = b.get("scores") or {}
        if scores.keys() != a["scores"].keys():
            drift = 1.0
            break
        drift = max(drift, max((abs(scores[label] - p) for label, p in a["scores"].items()), default=0.0))
    return GoldenReplay(total=len(expected), agree=agree, max_drift=round(drift, 6))


def verdict(replay: GoldenReplay, manifest: bundle.Manifest, runtime: Runtime) -> str:
    """Why this replay, computed by `runtime`, is not good enough; empty when it is."""
    measured = manifest.recipe[-1].get("parity") if manifest.recipe else None
    if measured is None:
        allowed, needed, reference = TOLERANCE, 0.0, say("as trained")
    else:
        allowed = measured["max_drift"] + COMPANY_DRIFT
        # Labels are counted over the whole set only: among the first few a single one weighs too much.
        whole = replay.total == measured["golden"]
        needed = measured["agree"] - COMPANY_LABELS * measured["golden"] if whole else 0.0
        reference = say("when it was compressed")
    if runtime.precision == "bf16":
        allowed += BF16_DRIFT
        needed = int(replay.total * (1 - BF16_LABELS)) if measured is None else needed
    if replay.max_drift <= allowed and replay.agree >= needed:
        return ""
    return say(
        "The served model does not answer as it did {reference}: {agree} of {total} golden answers agree, "
        "a probability differs by up to {drift:.3f} (allowed: {allowed:.2g}).",
        reference=reference,
        agree=replay.agree,
        total=replay.total,
        drift=replay.max_drift,
        allowed=allowed,
    )


async def replay_runner(folder: Path, socket: Path) -> GoldenReplay:
    """Ask the runner itself a first few. Raises GoldenFailed, OSError."""
    golden = await asyncio.to_thread(bundle.golden, folder)
    reply = await ask(str(socket), Ask.PREDICT_SCORES, orjson.dumps(golden.inputs[:_SAMPLE]), timeout_s=_TIMEOUT_S)
    if reply.status is not Status.OK:
        raise GoldenFailed(
            say("The model failed on its golden set: {error}", error=reply.body.decode(errors="replace")[:300])
        )
    return compare(golden.outputs[:_SAMPLE], orjson.loads(reply.body))


async def replay_live(folder: Path, *, port: int, token: str, workspace: str, name: str, revision: int) -> GoldenReplay:
    """Ask everything through the front, as a caller would, but of this revision. Raises GoldenFailed, OSError."""
    golden = await asyncio.to_thread(bundle.golden, folder)
    headers = {
        "authorization": f"Bearer {token}",
        "x-tuneyard-workspace": workspace,
        "x-tuneyard-revision": str(revision),
    }
    given = await asyncio.to_thread(_post_all, port, f"/predict/{name}", headers, golden.inputs, revision)
    return compare(golden.outputs, given)


def _post_all(port: int, path: str, headers: dict[str, str], inputs: list[Any], revision: int) -> list[dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        given: list[dict[str, Any]] = []
        for start in range(0, len(inputs), _CHUNK):
            body = orjson.dumps({"inputs": inputs[start : start + _CHUNK], "scores": True})
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            data = orjson.loads(answer.read())
            if answer.status != 200:
                failure = Interrupted if answer.status == 503 else GoldenFailed
                raise failure(
                    say(
                        "The live endpoint answered {status}: {error}",
                        status=answer.status,
                        error=data["error"]["message"],
                    )
                )
            if data["revision"] != revision:
                raise GoldenFailed(
                    say("Revision {given} answered in place of {revision}.", given=data["revision"], revision=revision)
                )
            given.extend(data["outputs"])
        return given
    except (http.client.HTTPException, orjson.JSONDecodeError) as error:
        raise Interrupted(
            say("The live endpoint gave no answer that can be read: {error}", error=repr(error))
        ) from error
    finally:
        connection.close()
