"""The bounded tables of the shell: which leg an event belongs to, and what is remembered of legs that are gone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kemi.messages import TransactionId
from msrp_worker.sip.leg_types import LegId
from msrp_worker.sip.message import Message

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """A dictionary of the last `size` things, the oldest forgotten first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    def add(self, key: Key, value: Value) -> bool:
        """Remember; False when it was known already."""
        if key in self._known:
            return False
        self._known[key] = value
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return True

    def pop(self, key: Key) -> Value | None:
        """Forget, and give what it was."""
        return self._known.pop(key, None)

    def oldest(self) -> tuple[Key, Value] | None:
        """What would be forgotten first."""
        return next(iter(self._known.items()), None)

    def get(self, key: Key) -> Value | None:
        """What is remembered under a key."""
        return self._known.get(key)


@dataclass(slots=True)
class Waiting:
    """An INVITE outside a dialog that nobody has taken yet."""

    request: Message
    since: float
    cancelled: bool = False


@dataclass(slots=True)
class Invites:
    """INVITE transactions of the peers, so that a CANCEL finds its leg."""

    legs: dict[TransactionId, LegId] = field(default_factory=dict)
    of_leg: dict[LegId, tuple[TransactionId, ...]] = field(default_factory=dict)

    def add(self, leg_id: LegId, transaction: TransactionId) -> None:
        """Note an INVITE of a leg: its first, and the latest inside the dialog."""
        known = self.of_leg.get(leg_id, ())
        for old in known[1:]:
            self.legs.pop(old, None)
        self.of_leg[leg_id] = (*known[:1], transaction)
        self.legs[transaction] = leg_id

    def forget(self, leg_id: LegId) -> None:
        """The leg is gone."""
        for transaction in self.of_leg.pop(leg_id, ()):
            self.legs.pop(transaction, None)
