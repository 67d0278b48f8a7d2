"""Batches, DuckDB and three passes against the same rules written row by row: digest, splits and counts are equal."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from modelkit.data import readers
from modelkit.data.checks import RARE_ROWS
from modelkit.data.damage import is_damaged, repair
from modelkit.data.options import SPLITS
from modelkit.data.splits import SplitRule, rescues, rule_for
from modelkit.data.tokens import LONG_TOKENS, estimated_tokens
from tests.modelkit.data.conftest import Prepare

ODD = ["", "  ", " padded ", "café", "它是这样的", "donâ€™t", "it cost å£5", "\ufffd", "line\nbreak", 'a "quote"']
MANY_ROWS = ["drop_duplicates", "drop_conflicts", "drop_leaks", "drop_rare_classes"]
ONE_ROW = ["drop_empty_rows", "drop_long_rows", "drop_ragged_rows", "repair_encoding"]


def noisy(seed: int, rows: int) -> str:
    """A file with every trouble, some of it in the same row, and texts that repeat with other classes."""
    chance = random.Random(seed)
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["text", "label"])
    odd = [*ODD, "x" * 3000, "长" * 600]
    for _ in range(rows):
        number = chance.randrange(rows // 2)
        text = chance.choice(odd) if chance.random() < 0.1 else f"text {number}"
        label = f"class {number % 5}" if chance.random() < 0.9 else chance.choice(["", "class 1", "r2", "r3 "])
        shape = chance.random()
        writer.writerow([text] if shape < 0.02 else [text, label, "", "more"] if shape < 0.04 else [text, label])
    return file.getvalue()


def slow_rows(parts: dict[str, str], rule: SplitRule, fixes: set[str]) -> Iterator[dict[str, Any]]:
    """What staging keeps, a row at a time."""
    for part, content in parts.items():
        reader = csv.reader(io.StringIO(content, newline=""))
        next(reader)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != 2 and "drop_ragged_rows" in fixes:
                continue
            text, label = ([cell.strip() for cell in cells] + [""])[:2]
            if "repair_encoding" in fixes and is_damaged(text):
                text = repair(text)
            if not label or ("drop_empty_rows" in fixes and not text):
                continue
            if "drop_long_rows" in fixes and estimated_tokens(text) > LONG_TOKENS:
                continue
            key = hashlib.sha256(text.encode()).hexdigest()[:32]
            unit = int(key[16:], 16) / 2**64
            split = part
            if part == rule.divided:
                split = next((name for name, edge in rule.edges.items() if unit < edge - 1e-12), "train")
            yield {"key": key, "unit": unit, "split": split, "part": part, "text": text, "label": label}


def slow_way(parts: dict[str, str], fixes: set[str]) -> tuple[str, list[dict[str, Any]]]:
    """Digest and rows in their final order."""
    rule = rule_for(parts)  # type: ignore[arg-type]
    rows = list(slow_rows(parts, rule, fixes))
    texts: dict[str, dict[str, Any]] = {}
    seen: Counter[str] = Counter()
    for row in rows:
        row["number"] = seen[row["key"]]
        seen[row["key"]] += 1
        if row["part"] == rule.divided:
            held = texts.setdefault(row["key"], {**row})
            held["label"] = min(held["label"], row["label"])
    wanted = [split for split, share in rule.shares.items() if share > 0]
    of_class = defaultdict(set)
    for text in texts.values():
        of_class[text["label"]].add(text["split"])
    members = [
        (text["label"], key, text["unit"], text["split"])
        for key, text in texts.items()
        if len(of_class[text["label"]]) < len(wanted)
    ]
    moves = rescues(members, wanted)
    for row in rows:
        if row["part"] == rule.divided:
            row["split"] = moves.get(row["key"], row["split"])
    if "drop_conflicts" in fixes:
        classes = defaultdict(set)
        for row in rows:
            classes[row["key"]].add(row["label"])
        rows = [row for row in rows if len(classes[row["key"]]) == 1]
    if "drop_leaks" in fixes:
        last: dict[str, int] = defaultdict(int)
        for row in rows:
            last[row["key"]] = max(last[row["key"]], SPLITS.index(row["split"]))
        rows = [row for row in rows if SPLITS.index(row["split"]) == last[row["key"]]]
    if "drop_duplicates" in fixes:
        firsts: dict[tuple[str, ...], dict[str, Any]] = {}
        for row in rows:
            firsts.setdefault((row["key"], row["label"], row["split"]), row)
        rows = list(firsts.values())
    if "drop_rare_classes" in fixes:
        counts = Counter(row["label"] for row in rows)
        rows = [row for row in rows if counts[row["label"]] >= RARE_ROWS]
    rows.sort(key=lambda row: SPLITS.index(row["split"]))  # stable: the order of the files within a split
    head = {"format": 1, "rule": rule.text, "mapping": {"label": "label", "text": "text"}}
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for row in rows:
        row["id"] = f"{row['key'][:16]}-{row['number']}"
        digest.update("\x1f".join([row["id"], row["split"], row["text"], row["label"]]).encode() + b"\x1e")
    return digest.hexdigest(), rows


@pytest.mark.parametrize("fixes", [[], *([fix] for fix in MANY_ROWS + ONE_ROW), MANY_ROWS, MANY_ROWS + ONE_ROW])
@pytest.mark.parametrize("parts", [("all",), ("train", "test"), ("train", "validation", "test")])
def test_both_ways_give_the_same_version(
    prepared: Prepare, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...], fixes: list[str]
) -> None:
    # Several batches, the last of them short.
    monkeypatch.setattr(readers, "BATCH_ROWS", 100)
    content: dict[str, bytes | str] = {part: noisy(seed, 730) for seed, part in enumerate(parts)}
    version = prepared(content, fixes=tuple(fixes))
    assert version.status == "ready", version.error
    digest, rows = slow_way({part: str(text) for part, text in content.items()}, set(fixes))
    assert version.splits == {split: sum(row["split"] == split for row in rows) for split in SPLITS}
    assert version.digest == digest
    found = {check["code"]: check["count"] for check in version.checks}
    filled = [row for row in rows if row["text"]]
    by_key = defaultdict(list)
    for row in filled:
        by_key[row["key"]].append(row)
    same = Counter((row["key"], row["label"], row["split"]) for row in filled)
    assert found["duplicates"] == sum(count - 1 for count in same.values())
    assert found["conflicts"] == sum(len({row["label"] for row in group}) > 1 for group in by_key.values())
    assert found["leaks"] == sum(len({row["split"] for row in group}) > 1 for group in by_key.values())
    assert found["lengths"] == sum(estimated_tokens(row["text"]) > LONG_TOKENS for row in rows)
