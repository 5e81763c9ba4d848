"""What is stored of who owns a call of the focus, so that the next worker can answer those who wait for it (SEC-06)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kemi.messages import TransactionId
from msrp_worker.functions import Functions
from msrp_worker.kamailio_link import LEG_TAG
from msrp_worker.sip.outbox import LegOwner
from msrp_worker.sip.port import Headers, Reply
from msrp_worker.store.legs import LegRecord

KIND: Final = "controlling"
"""Owner of all legs of the focus."""
MOST_WAITING = 8
"""INVITEs noted with one call; who else waits is answered by Kamailio's timer."""
RETRY_AFTER: Headers = (("Retry-After", "5"),)


class Caller:
    """Owner of one call: the session, and the INVITEs that wait for its outcome, as they are when it is made."""

    kind = KIND

    def __init__(self, session: LegOwner, waiting: Sequence[TransactionId]) -> None:
        numbers = (f"{index} {label}" for index, label in waiting[:MOST_WAITING])
        self.identity = " ".join((session.identity, *numbers))
        self.on_leg_event = session.on_leg_event


def waiting_of(record: LegRecord) -> list[TransactionId]:
    """The INVITEs that waited for a call of ours; none for other legs."""
    if record.owner_kind != KIND or record.state != "calling":
        return []
    numbers = [int(word) for word in record.owner_id.split(" ")[1:]]
    return list(zip(numbers[::2], numbers[1::2], strict=False))


class Orphans:
    """Answers those who asked the worker before us for a session, each once."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._answered: set[TransactionId] = set()

    def orphaned(self, record: LegRecord) -> None:
        """See `sip.restart.adopt`."""
        for transaction in waiting_of(record):
            if transaction not in self._answered:
                self._answered.add(transaction)
                reply = Reply(transaction, 503, "Service Unavailable", LEG_TAG + "gone", RETRY_AFTER)
                self._functions.legs.sender.send(reply, record.call_id)
