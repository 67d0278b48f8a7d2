"""Which split a row goes to. Light.

A row's place depends on its text alone, so that the same text is never on both sides of a split, adding rows moves no
other row, and a version made by a fix keeps the places of its parent. Parts that the user gave are kept:

    given                       train           validation          test
    nothing                     80 %            10 %                10 %
    train, test                 90 % of train   10 % of train       as given
    train, validation           90 % of train   as given            10 % of train
    train, validation, test     as given        as given            as given

The hash is blind to classes, and a class of five texts may by chance miss a split. `rescues` then moves single texts,
from the split of that class that has most, so that a class of three or more texts is in every split, and any class is
in train.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from modelkit.data.options import SPLITS, Part
from modelkit.errors import UserError

RULE_VERSION = 1


@dataclass(frozen=True)
class SplitRule:
    """How one part is divided: shares of train, validation and test, in hash order."""

    parts: tuple[Part, ...]

    @property
    def shares(self) -> dict[str, float]:
        """Shares for the part that is divided (`all` or `train`)."""
        given = set(self.parts)
        if given in ({"all"}, {"train"}):
            return {"train": 0.8, "validation": 0.1, "test": 0.1}
        validation = 0.0 if "validation" in given else 0.1
        test = 0.0 if "test" in given else 0.1
        return {"train": 1.0 - validation - test, "validation": validation, "test": test}

    @property
    def edges(self) -> dict[str, float]:
        """Where each split ends: a text belongs to the first whose edge is above its hash, a number from 0 to 1."""
        return dict(zip(self.shares, accumulate(self.shares.values()), strict=True))

    @property
    def divided(self) -> Part:
        return "train" if "train" in self.parts else "all"

    @property
    def text(self) -> str:
        """For digests and pages, e.g. `1:all 80/10/10`."""
        shares = "/".join(f"{round(100 * share)}" for share in self.shares.values())
        return f"{RULE_VERSION}:{'+'.join(self.parts)} {shares}"


def rule_for(parts: Iterable[Part]) -> SplitRule:
    """The rule for the parts that a user gave; raises UserError `train_missing`."""
    given = set(parts)
    if "all" in given and len(given) > 1:
        raise UserError(
            "parts_mixed",
            "Some files name a split and some do not.",
            "Send every file as `file`, or all of them as `train`, `validation` and `test`.",
            field="file",
        )
    if "all" not in given and "train" not in given:
        raise UserError(
            "train_missing", "There is no train part.", "Add the file to train on as `train`.", field="train"
        )
    return SplitRule(tuple(part for part in ("all", *SPLITS) if part in given))


def rescues(members: Iterable[tuple[str, str, float, str]], wanted: Iterable[str]) -> dict[str, str]:
    """Text key -> new split, for classes that miss a split.

    `members` are (class, text key, unit, split) of the distinct texts of those classes; `wanted` are the splits that
    the divided part feeds. Deterministic: the texts moved are those with the largest hash.
    """
    by_class: dict[str, list[tuple[float, str, str]]] = defaultdict(list)
    for label, key, unit, split in members:
        by_class[label].append((unit, key, split))
    moves: dict[str, str] = {}
    for label in sorted(by_class):
        texts = sorted(by_class[label])
        place = {key: moves.get(key, split) for _, key, split in texts}
        targets = [split for split in SPLITS if split in set(wanted)]
        for target in targets if len(texts) >= len(targets) else ["train"]:
            if target in place.values():
                continue
            counts = {split: sum(1 for at in place.values() if at == split) for split in targets}
            donor = max(targets, key=lambda split: (counts[split], -targets.index(split)))
            candidates = [key for _, key, _ in texts if place[key] == donor and key not in moves]
            if not candidates or (counts[donor] < 2 and target != "train"):
                continue
            moves[candidates[-1]] = target
            place[candidates[-1]] = target
    return moves
