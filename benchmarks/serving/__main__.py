"""Measures serving and prints one JSON object as the last line. Everything else goes to the error stream.

    python -m benchmarks.serving [--rounds 5] [--seconds 4] [--precision int8]
        [--only share trained swaps cold exact peers overload]

`share_of_limit` by concurrency is our rate over LIMIT's just before, in turns so short that both meet the same host;
`cpu_ratio` our processor time per request at 32 callers over LIMIT's; figures are medians over the rounds.
`vs_best_peer_at_32` gives each peer the bundle's own predictor, which sorts a batch by length and cuts it;
`vs_best_padding_peer_at_32` gives it the same predictor without that, so that it pads a batch to its longest text, as
the model functions that users of those servers write do. What ends in `_as_trained` is the same for the model in
float32, before it is compressed, and ours alone; `--precision fp32` sets its peers beside it. `host_steal` and
`host_wake_ms` tell what the machine took away while the shares were measured: LIMIT, which never sleeps, feels only the
first. A figure that could not be measured is null, with the reason above it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.serving import exact, overload, peers, swaps
from benchmarks.serving.host import Host
from benchmarks.serving.limit import Limit
from benchmarks.serving.product import Product, cold_start_s
from benchmarks.serving.stage import Load, Stage, ask, prepare, write_script

CONCURRENCY = (1, 8, 32, 64)
WARM_S = 2
KEYS = (
    "share_of_limit",
    "cpu_ratio",
    "p99_over_p50_at_64",
    "host_steal",
    "host_wake_ms",
    "vs_best_peer_at_32",
    "best_peer",
    "vs_best_padding_peer_at_32",
    "best_padding_peer",
    "share_of_limit_as_trained",
    "cpu_ratio_as_trained",
    "p99_over_p50_at_64_as_trained",
    "cold_start_s",
    "exact_vs_padded",
    "swap_failures",
    "swap_gap_over_p50",
    "swap_gap_p99_over_p50",
    "overload_refused",
    "overload_broken",
    "overload_rate_over_calm",
    "overload_grown_mb",
    "overload_p50_after_over_before",
)
#: Marks a peer that pads its batches.
PADDING = "-padding"
PARTS = ("cold", "exact", "share", "trained", "peers", "swaps", "overload")


def say(text: str) -> None:
    print(f"bench    | {text}", file=sys.stderr, flush=True)


def measure_share(
    stage: Stage,
    product: Product,
    options: argparse.Namespace,
    scratch: Path,
    bundle: Path,
    number: int,
    *,
    alone: bool,
) -> dict[str, Any]:
    """Rounds of LIMIT, us and, unless `alone`, the peers, in turns, so that a busy host slows all sides alike."""
    product.deploy(bundle, number)
    product.wait_live(number)
    script = write_script(scratch / "ours.lua", product.bodies(stage.sentences))
    limit = Limit(bundle, stage)
    servers = []
    if not alone:
        servers = _start_peers({"": bundle, PADDING: _uncut(bundle, scratch / "padding")}, stage, scratch)
    shares: dict[int, list[float]] = defaultdict(list)
    rates: dict[str, list[float]] = defaultdict(list)
    tails, cpus = [], []
    host = Host()
    try:
        _sound("tuneyard", ask(product.url, script, connections=32, seconds=WARM_S))
        for server, own in servers:
            with server.awake():
                _sound(server.name, ask(server.url, own, connections=32, seconds=WARM_S))
        for number in range(options.rounds):
            for concurrency in CONCURRENCY:
                bound = limit.measure(concurrency=concurrency, seconds=options.seconds)
                before = product.cpu_s()
                load = _sound("tuneyard", ask(product.url, script, connections=concurrency, seconds=options.seconds))
                shares[concurrency].append(load.rate / bound.rate)
                say(f"round {number + 1}, {concurrency:2} callers: {load.rate:6.0f}/s of {bound.rate:6.0f}/s")
                if concurrency == 32:
                    cpus.append((product.cpu_s() - before) / load.requests * 1e3 / bound.cpu_ms)
                    rates["tuneyard"].append(load.rate)
                if concurrency == 64:
                    tails.append(load.p99_ms / load.p50_ms)
            for server, own in servers:
                with server.awake():
                    load = _sound(server.name, ask(server.url, own, connections=32, seconds=options.seconds))
                rates[server.name].append(load.rate)
                say(f"round {number + 1}, 32 callers of {server.name}: {load.rate:6.0f}/s")
    finally:
        limit.close()
        for server, _ in servers:
            server.close()
    found: dict[str, Any] = {
        "share_of_limit": {str(c): round(statistics.median(values), 3) for c, values in shares.items()},
        "cpu_ratio": statistics.median(cpus),
        "p99_over_p50_at_64": statistics.median(tails),
        **host.figures(),
    }
    if alone:
        return found
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ours = medians.pop("tuneyard")
    for kind in ("", "padding_"):
        ranked = sorted((rate, name) for name, rate in medians.items() if name.endswith(PADDING) == bool(kind))
        if ranked:
            rate, name = ranked[-1]
            found |= {f"best_{kind}peer": name.removesuffix(PADDING), f"vs_best_{kind}peer_at_32": ours / rate}
    return found


def measure_trained(stage: Stage, product: Product, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    found = measure_share(stage, product, options, scratch, stage.bundles["fp32"], 2, alone=True)
    return {f"{name}_as_trained": found[name] for name in ("share_of_limit", "cpu_ratio", "p99_over_p50_at_64")}


def measure_overload(stage: Stage, product: Product, bundle: Path, scratch: Path) -> dict[str, Any]:
    product.deploy(bundle, 1000)
    product.wait_live(1000)
    return overload.measure(product, write_script(scratch / "overload.lua", product.bodies(stage.sentences)))


def _start_peers(bundles: dict[str, Path], stage: Stage, scratch: Path) -> list[tuple[peers.Server, Path]]:
    """Each peer once for each of `bundles`, whose key is added to its name."""
    servers = []
    for peer in peers.PEERS:
        bodies = [json.dumps(peer.body(text)) for text in stage.sentences]
        script = write_script(scratch / f"{peer.name}.lua", bodies)
        for kind, bundle in bundles.items():
            name = f"{peer.name}{kind}"
            try:
                servers.append((peers.Server(name, peer, bundle, stage.folder, scratch / name), script))
            except (RuntimeError, OSError) as error:
                say(f"{name} is left out: {error}")
    return servers


def _uncut(bundle: Path, folder: Path) -> Path:
    """The same model whose predictor runs a batch whole, padded to its longest text."""
    shutil.copytree(bundle, folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["preprocessing"]["chunk_rows"] = sys.maxsize
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _sound(name: str, load: Load) -> Load:
    if load.refused or load.broken or not load.requests:
        raise RuntimeError(f"{name} failed {load.refused + load.broken} of {load.requests} requests.")
    return load


def main() -> None:
    """Measure, saying what happens on the error stream."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=int, default=4, help="of each measurement; at its end a request of each caller is in vain"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--precision", choices=("fp32", "int8"), default="int8")
    options = parser.parse_args()
    stage = prepare()
    scratch = Path(tempfile.mkdtemp(prefix="ty-bench-"))
    product = Product(scratch / "home")
    bundle = stage.bundles[options.precision]
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "cold": lambda: {"cold_start_s": statistics.median(cold_start_s(bundle, scratch) for _ in range(5))},
        "exact": lambda: exact.measure(stage.bundles["fp32"], stage.sentences),
        "share": lambda: measure_share(stage, product, options, scratch, bundle, 1, alone="peers" not in options.only),
        "trained": lambda: measure_trained(stage, product, options, scratch),
        "overload": lambda: measure_overload(stage, product, bundle, scratch),
        "swaps": lambda: swaps.measure(product, (bundle, _copy(bundle, scratch)), stage.sentences, first=100),
    }
    figures: dict[str, Any] = dict.fromkeys(KEYS)
    try:
        for name in (part for part in PARTS if part in options.only and part in parts):
            begun = time.monotonic()
            try:
                found = parts[name]()
            except Exception:  # one part that fails must not hide the others
                traceback.print_exc(file=sys.stderr)
                found = {}
            figures.update({k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()})
            say(f"{name}: {found} in {time.monotonic() - begun:.0f} s")
    finally:
        product.close()
    shutil.rmtree(scratch, ignore_errors=True)
    print(json.dumps(figures))


def _copy(bundle: Path, scratch: Path) -> Path:
    """The same model in another folder: swapping to it costs all that swapping costs."""
    return Path(shutil.copytree(bundle, scratch / "other"))


if __name__ == "__main__":
    main()
