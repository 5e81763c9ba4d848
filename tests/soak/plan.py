"""What a soak does: a list of operations made from a seed alone, so that a run can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from tests.soak.netem import GOOD, Condition


class Kind(StrEnum):
    """An operation; the value is its name in the books."""

    PAGER = "send pager"
    LARGE = "send large"
    REGISTER = "register"
    DEREGISTER = "de-register"
    FETCH = "fetch deferred"
    VANISH = "device vanishes"
    FREEZE_WORKER = "freeze worker"
    KILL_WORKER = "kill worker"
    KILL_KAMAILIO = "kill Kamailio"
    NETWORK = "network"


WEIGHTS = {
    Kind.PAGER: 807,
    Kind.LARGE: 45,
    Kind.REGISTER: 75,
    Kind.DEREGISTER: 42,
    Kind.FETCH: 12,
    Kind.VANISH: 9,
    Kind.FREEZE_WORKER: 1,
    Kind.KILL_WORKER: 2,
    Kind.KILL_KAMAILIO: 1,
    Kind.NETWORK: 6,
}
"""Of a thousand: traffic as of people who come and go, and trouble so often that half of the time there is some."""
FAULTS = (Kind.VANISH, Kind.FREEZE_WORKER, Kind.KILL_WORKER, Kind.KILL_KAMAILIO, Kind.NETWORK)

PRESENT = tuple(f"user{number}" for number in range(1, 11))
ABSENT = ("away1", "away2")
"""Users who never register: what is sent to them is still stored at the end."""

CONDITIONS = (
    Condition(loss=0.02, delay=0.02, jitter=0.01),
    Condition(loss=0.15, delay=0.08, jitter=0.06),
    Condition(loss=0.30, delay=0.03, jitter=0.03),
    Condition(delay=0.40, jitter=0.30),
    Condition(cut=True),
)
"""A radio network, a bad one, a hopeless one, a long way with packets overtaking each other, and none at all."""
PAGER_BYTES = (1, 450)
"""Content of a pager message: with its headers and credentials within the 1300 bytes of UDP (PAG-10)."""
LARGE_BYTES = (1_500, 200_000)
TROUBLE_SECONDS = (0.5, 8.0)
FREEZE_SECONDS = (0.5, 6.0)
"""Around the 4 s that a request waits for the worker (IM_ANSWER_TIMEOUT)."""


@dataclass(frozen=True, slots=True)
class Operation:
    """`user` acts, towards `peer`. `size` are bytes of content; `seconds` how long the `condition` of the wire,
    or the freezing of a process, lasts.
    """

    number: int
    kind: Kind
    user: str = ""
    peer: str = ""
    size: int = 0
    condition: Condition = GOOD
    seconds: float = 0.0

    def __str__(self) -> str:
        what = {Kind.NETWORK: f" {self.condition} for {self.seconds:.1f} s"}.get(self.kind, f" {self.user} {self.peer}")
        return f"{self.number} {self.kind}{what if self.user or self.kind is Kind.NETWORK else ''}"


def plan(count: int, seed: int) -> list[Operation]:
    """`count` operations; each kind of fault occurs at least once where there are enough of them."""
    chance = random.Random(seed)
    kinds = chance.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)
    for fault in FAULTS:
        if fault not in kinds and count > 10 * len(FAULTS):
            places = [place for place in range(count // 4, 3 * count // 4) if kinds[place] is Kind.PAGER]
            kinds[chance.choice(places)] = fault
    return [_operation(number, kind, chance) for number, kind in enumerate(kinds, 1)]


def _operation(number: int, kind: Kind, chance: random.Random) -> Operation:
    user = chance.choice(PRESENT)
    others = [name for name in PRESENT + ABSENT if name != user]
    match kind:
        case Kind.PAGER:
            return Operation(number, kind, user, chance.choice(others), chance.randint(*PAGER_BYTES))
        case Kind.LARGE:
            return Operation(number, kind, user, chance.choice(others), chance.randint(*LARGE_BYTES))
        case Kind.NETWORK:
            seconds = chance.uniform(*TROUBLE_SECONDS)
            return Operation(number, kind, condition=chance.choice(CONDITIONS), seconds=seconds)
        case Kind.FREEZE_WORKER:
            return Operation(number, kind, seconds=chance.uniform(*FREEZE_SECONDS))
        case Kind.KILL_WORKER | Kind.KILL_KAMAILIO:
            return Operation(number, kind)
    return Operation(number, kind, user)
