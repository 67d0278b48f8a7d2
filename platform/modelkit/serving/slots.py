"""Which callers are with which revision: a hundred slots, one for each percent of the traffic. Pure, light.

A caller's slot is a hash of what names it, and a slot belongs to one revision. When shares change, exactly as many
slots change hands as must. No function of hash and shares alone can do that for three revisions and more (rendezvous
hashing moves up to twice as many), so the agent remembers the slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

SLOTS = 100


def reslot(slots: Sequence[int], weights: Mapping[int, int]) -> tuple[int, ...]:
    """`slots` changed as little as possible, so that each revision has its share; none where nobody has traffic."""
    shares = _shares(weights)
    if not shares:
        return ()
    kept: list[int | None] = []
    room = dict(shares)
    for number in slots if len(slots) == SLOTS else ():
        if room.get(number, 0):
            room[number] -= 1
            kept.append(number)
        else:
            kept.append(None)
    kept = kept or [None] * SLOTS
    free = (number for number in sorted(room) for _ in range(room[number]))
    return tuple(next(free) if number is None else number for number in kept)


def _shares(weights: Mapping[int, int]) -> dict[int, int]:
    """Whole slots by largest remainder; weights of a part of the revisions need not add up to a hundred."""
    total = sum(weights.values())
    if total <= 0:
        return {}
    shares = {number: weight * SLOTS // total for number, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda number: (-(weights[number] * SLOTS % total), number))
    for number in by_remainder[: SLOTS - sum(shares.values())]:
        shares[number] += 1
    return shares


def slot_of(caller: bytes, salt: bytes) -> int:
    """The slot of a caller; `salt` differs between endpoints, so that nobody is in every canary."""
    return int.from_bytes(blake2b(caller, digest_size=8, key=salt).digest(), "big") % SLOTS
