"""Benchmark of the conference event package: `python -m tests.bench.conference_notify [--quick]`.

One change told to 10, 100 and 1,000 subscribers, and a full document for each of them: CPU time of the worker's side for
one NOTIFY, up to the command that Kamailio gets. A round is linear when that time does not grow. Turns are taken in
virtual time, so that pacing costs none; how long a round takes on the wire is its number by the notifier's pace.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
import tracemalloc
from dataclasses import dataclass
from typing import cast

from kemi import messages
from kemi.messages import Incoming, SipEvent, SipRequest, TransactionId
from msrp_worker.controlling.conference_notifier import MOST_OF_TICK, MOST_OF_USER, TICK_S, ConferenceNotifier
from msrp_worker.controlling.conference_roster import LARGEST_USERS, Roster
from msrp_worker.functions import Functions
from msrp_worker.kamailio_link import KamailioLink
from tests.msrp_worker.controlling.sources import Source, user
from tests.msrp_worker.controlling.virtual_time import run
from tests.msrp_worker.sip.fakes import FakeStore
from tests.msrp_worker.sip.sip_text import request as sip_request

SIZES = (10, 100, 1_000)
ROUNDS = 5
TARGET = 2.0
"""Cost of one NOTIFY at the largest size by that at 100: more is not linear any more. At 10, what a round costs by itself
shows."""


@dataclass
class Cost:
    """Of one size: microseconds of CPU and bytes."""

    size: int
    change: float
    """For one NOTIFY with one changed user."""
    whole: float
    """For one NOTIFY with everybody (as many as one document holds)."""
    whole_bytes: int
    memory: float
    """Bytes of one subscription, with its dialog and timer."""


class Kamailio:
    """Takes commands; `settle` answers every NOTIFY with 200."""

    def __init__(self) -> None:
        self.notifies: list[messages.SendRequest] = []

    def send_request(self, command: messages.SendRequest, pin: int, *, initial: bool) -> bool:
        """Keep the NOTIFY."""
        self.notifies.append(command)
        return True

    def reply(
        self, transaction: TransactionId, status: int, reason: str, tag: str, headers: str = "", body: str = ""
    ) -> None:
        """The 200 to a SUBSCRIBE."""
        assert status == 200, reason

    def settle(self, functions: Functions) -> int:
        """How many NOTIFYs there were."""
        taken, self.notifies = self.notifies, []
        for command in taken:
            fields = dict(line.split(": ", 1) for line in command.headers.splitlines())
            cseq = int(fields["CSeq"].split()[0])
            told = SipEvent(fields["Call-ID"], "response", "NOTIFY", cseq, fields["From"].partition(";tag=")[2], "a")
            lines = "".join(f"{name}: {fields[name]}\r\n" for name in ("From", "To", "Call-ID", "CSeq"))
            functions._port._on_leg(Incoming(None, told, f"SIP/2.0 200 OK\r\n{lines}\r\n".encode()))
        return len(taken)


class Room:
    """A session of so many participants, all of whom subscribe."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.link = Kamailio()
        self.functions = Functions(cast(KamailioLink, self.link), FakeStore(), "n1", itertools.count().__str__)
        self.notifier = ConferenceNotifier(self.functions, 1.0)
        self.source = Source().add(*(user(f"participant{number:04}") for number in range(size)))
        self.functions.register(
            "controlling",
            lambda transaction, request, asked: self.notifier.subscribe(transaction, request, asked, self.source),
        )
        self.requests = [self._request(number) for number in range(size)]

    def _request(self, number: int) -> Incoming:
        fields = (("Event", "conference"), ("Expires", "3600"))
        who = f"sip:participant{number // MOST_OF_USER:04}@example.com"
        asked = SipRequest(f"c{number}", "SUBSCRIBE", 1, "a", who, function="controlling")
        return Incoming((number + 1, 1), asked, sip_request("SUBSCRIBE", 1, call_id=f"c{number}", lines=fields))

    async def subscribe(self) -> None:
        """Have all subscribe, and wait until they are told."""
        for incoming in self.requests:
            self.functions._port._on_leg(incoming)
        await self.round()

    async def rest(self) -> None:
        """Let what is left be told: one document does not hold a thousand users."""
        for _ in range(20):
            await asyncio.sleep(1.0)
            self.link.settle(self.functions)

    async def round(self) -> float:
        """Let all be told; microseconds of CPU for each, the answers left out."""
        began, told = time.process_time(), 0
        spent = 0.0
        while told < self.size:
            await asyncio.sleep(TICK_S)
            spent += time.process_time() - began
            told += self.link.settle(self.functions)
            began = time.process_time()
        return spent / told * 1e6


async def measure(size: int, rounds: int, found: list[Cost]) -> None:
    """Both kinds of rounds of one size; the best of `rounds`."""
    room = Room(size)
    tracemalloc.start()
    await room.subscribe()
    memory = tracemalloc.get_traced_memory()[0] / size
    tracemalloc.stop()
    changes = []
    for number in range(rounds):
        await room.rest()
        room.source.add(user(f"late{number}"))
        room.notifier.changed(room.source, f"sip:late{number}@example.com")
        changes.append(await room.round())
    wholes, whole_bytes = [], 0
    for _ in range(rounds):
        other = Room(size)
        for incoming in other.requests:
            other.functions._port._on_leg(incoming)
        wholes.append(await other.round())
        whole_bytes = len(Roster(other.source).since(0, 0).document)
    found.append(Cost(size, min(changes), min(wholes), whole_bytes, memory))


def main(*, quick: bool = False) -> int:
    """Print the table; 1 where a round is not linear."""
    found: list[Cost] = []
    for size in SIZES:
        run(measure(size, 2 if quick else ROUNDS, found))
    pace = MOST_OF_TICK / TICK_S
    print(f"{'participants':>12} {'change us':>10} {'full us':>9} {'full KiB':>9} {'KiB/subscr.':>12} {'round s':>8}")
    for cost in found:
        print(
            f"{cost.size:>12} {cost.change:>10.1f} {cost.whole:>9.1f} {cost.whole_bytes / 1024:>9.1f} "
            f"{cost.memory / 1024:>12.1f} {cost.size / pace:>8.2f}"
        )
    ratio = found[-1].change / found[-2].change
    met = ratio <= TARGET
    print(f"cost of a NOTIFY, {SIZES[-1]:,} to {SIZES[-2]}: {ratio:.2f} (target {TARGET}): {'met' if met else 'MISSED'}")
    print(f"a document holds {LARGEST_USERS / 1000:.0f} kB of users at most; the others follow")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(quick="--quick" in sys.argv[1:]))
