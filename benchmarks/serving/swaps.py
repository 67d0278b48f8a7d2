"""Fifty hot swaps back and forth under load: what failed, and how long nobody got an answer.

Eight callers of one asyncio process keep asking. A swap is from the moment a revision is desired until it alone has the
traffic; its gap is the longest time in it between two answers to anybody.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.serving.product import Product
from benchmarks.serving.stage import TOKEN

CALLERS = 8
SWAPS = 50
STEADY_S = 5.0


@dataclass
class Seen:
    """Answers in the order in which they came: when, how long they took; and what went wrong."""

    at: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    done: bool = False


async def _call(url: str, bodies: Sequence[str], first: int, seen: Seen) -> None:
    target = urlsplit(url)
    head = f"POST {target.path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: "
    requests = [f"{head}{len(body.encode())}\r\n\r\n{body}".encode() for body in bodies]
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    at = first
    while not seen.done:
        begun = time.perf_counter()
        try:
            writer.write(requests[at % len(requests)])
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.split(b"content-length:")[1].split(b"\r\n")[0])
            body = json.loads(await reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            seen.failures.append(repr(error))
            reader, writer = await asyncio.open_connection(target.hostname, target.port)
            continue
        now = time.perf_counter()
        if not answer.startswith(b"http/1.1 200") or not isinstance(body.get("revision"), int):
            seen.failures.append(json.dumps(body))
        seen.at.append(now)
        seen.took.append(now - begun)
        at += 1
    writer.close()


async def _measure(product: Product, folders: Sequence[Path], sentences: list[str], first: int) -> dict[str, float]:
    bodies = product.bodies(sentences)
    seen = Seen()
    callers = [asyncio.create_task(_call(product.url, bodies, i * 25, seen)) for i in range(CALLERS)]
    await asyncio.sleep(STEADY_S)
    p50 = statistics.median(seen.took[len(seen.took) // 5 :])
    windows: list[tuple[float, float]] = []
    for number in range(first, first + SWAPS):
        begun = time.perf_counter()
        product.deploy(folders[number % 2], number)
        await asyncio.to_thread(product.wait_live, number)
        windows.append((begun, time.perf_counter()))
    seen.done = True
    await asyncio.gather(*callers)
    gaps = sorted(_gap(seen.at, *window) for window in windows)
    return {
        "swap_failures": len(seen.failures),
        "swap_gap_over_p50": statistics.median(gaps) / p50,
        "swap_gap_p99_over_p50": gaps[round(0.99 * (len(gaps) - 1))] / p50,
        "swap_s": statistics.median(end - begun for begun, end in windows),
    }


def _gap(at: Sequence[float], begun: float, ended: float) -> float:
    inside = [begun, *at[bisect_left(at, begun) : bisect_left(at, ended)], ended]
    return max(after - before for before, after in itertools.pairwise(inside))


def measure(product: Product, folders: Sequence[Path], sentences: list[str], *, first: int) -> dict[str, float]:
    """Swap between two bundles, numbering revisions from `first`. `swap_s` is the median from desired to live."""
    return asyncio.run(_measure(product, folders, sentences, first))
