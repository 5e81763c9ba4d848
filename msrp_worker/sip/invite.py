"""The life of an INVITE usage, as a table (RFC 3261 sections 9, 13 and 15)."""

from __future__ import annotations

from enum import Enum, StrEnum, auto


class Phase(StrEnum):
    """Where an INVITE usage is. The first four belong to the caller, the next five to the callee."""

    CALLING = "calling"
    """INVITE sent, nothing heard."""
    WITHDRAWN = "withdrawn"
    """Given up before anything was heard: the CANCEL waits for a provisional response (9.1)."""
    PROCEEDING = "proceeding"
    """A provisional response was heard."""
    CANCELLING = "cancelling"

    INCOMING = "incoming"
    """INVITE received, no response above 100."""
    EARLY = "early"
    ACCEPTED = "accepted"
    """2xx sent, no ACK yet."""
    ENDING = "ending"
    """Given up before the ACK: the BYE waits for it (15)."""
    OVERTAKEN = "overtaken"
    """A CANCEL was reported after the 2xx was handed over: one of the two came first, the ACK will tell."""

    CONFIRMED = "confirmed"
    RELEASING = "releasing"
    """BYE sent."""
    TERMINATED = "terminated"


class Signal(Enum):
    """What moves it: messages of the peer, orders of the owner, time."""

    PROVISIONAL = auto()
    SUCCESS = auto()
    FAILURE = auto()
    """Final response 300 to 699 to our INVITE, or none in time."""
    RELEASE = auto()
    """The owner is done with the leg."""
    LOST = auto()
    """The dialog is dead: session expired, 481 or 408 inside it, or no final response to a cancelled INVITE."""
    RING = auto()
    ANSWER = auto()
    REFUSE = auto()
    EXPIRED = auto()
    """The INVITE's own time is over, or a reliable response is not acknowledged."""
    CANCEL = auto()
    ACK = auto()
    NO_ACK = auto()
    """64*T1 without an ACK."""
    BYE = auto()
    BYE_DONE = auto()
    """Final response to our BYE, or none in time."""


class Act(Enum):
    """What a transition does, in order."""

    CANCEL_INVITE = auto()
    SEND_BYE = auto()
    ANSWER_BYE = auto()
    REFUSE_INVITE = auto()
    CONFIRM = auto()
    """Tell the owner that the session stands."""
    TELL_REJECTED = auto()
    TELL_END = auto()


P, S, A = Phase, Signal, Act

TABLE: dict[tuple[Phase, Signal], tuple[Phase, tuple[Act, ...]]] = {
    # caller
    (P.CALLING, S.PROVISIONAL): (P.PROCEEDING, ()),
    (P.CALLING, S.SUCCESS): (P.CONFIRMED, (A.CONFIRM,)),
    (P.CALLING, S.FAILURE): (P.TERMINATED, (A.TELL_REJECTED,)),
    (P.CALLING, S.RELEASE): (P.WITHDRAWN, (A.TELL_END,)),
    (P.CALLING, S.LOST): (P.TERMINATED, (A.TELL_REJECTED,)),
    (P.WITHDRAWN, S.PROVISIONAL): (P.CANCELLING, (A.CANCEL_INVITE,)),
    (P.WITHDRAWN, S.SUCCESS): (P.RELEASING, (A.SEND_BYE,)),
    (P.WITHDRAWN, S.FAILURE): (P.TERMINATED, ()),
    (P.WITHDRAWN, S.LOST): (P.TERMINATED, ()),
    (P.PROCEEDING, S.PROVISIONAL): (P.PROCEEDING, ()),
    (P.PROCEEDING, S.SUCCESS): (P.CONFIRMED, (A.CONFIRM,)),
    (P.PROCEEDING, S.FAILURE): (P.TERMINATED, (A.TELL_REJECTED,)),
    (P.PROCEEDING, S.RELEASE): (P.CANCELLING, (A.CANCEL_INVITE, A.TELL_END)),  # PFS-08
    (P.PROCEEDING, S.LOST): (P.CANCELLING, (A.CANCEL_INVITE, A.TELL_REJECTED)),
    (P.CANCELLING, S.PROVISIONAL): (P.CANCELLING, ()),
    (P.CANCELLING, S.SUCCESS): (P.RELEASING, (A.SEND_BYE,)),  # the 200 crossed the CANCEL
    (P.CANCELLING, S.FAILURE): (P.TERMINATED, ()),
    (P.CANCELLING, S.LOST): (P.TERMINATED, ()),
    # callee
    (P.INCOMING, S.RING): (P.EARLY, ()),
    (P.INCOMING, S.ANSWER): (P.ACCEPTED, ()),
    (P.INCOMING, S.REFUSE): (P.TERMINATED, (A.TELL_END,)),
    (P.INCOMING, S.RELEASE): (P.TERMINATED, (A.REFUSE_INVITE, A.TELL_END)),
    (P.INCOMING, S.EXPIRED): (P.TERMINATED, (A.REFUSE_INVITE, A.TELL_END)),
    (P.INCOMING, S.CANCEL): (P.TERMINATED, (A.TELL_END,)),  # PFS-08: the 487 is tm's
    (P.INCOMING, S.BYE): (P.TERMINATED, (A.ANSWER_BYE, A.REFUSE_INVITE, A.TELL_END)),
    (P.EARLY, S.RING): (P.EARLY, ()),
    (P.EARLY, S.ANSWER): (P.ACCEPTED, ()),
    (P.EARLY, S.REFUSE): (P.TERMINATED, (A.TELL_END,)),
    (P.EARLY, S.RELEASE): (P.TERMINATED, (A.REFUSE_INVITE, A.TELL_END)),
    (P.EARLY, S.EXPIRED): (P.TERMINATED, (A.REFUSE_INVITE, A.TELL_END)),
    (P.EARLY, S.LOST): (P.TERMINATED, (A.REFUSE_INVITE, A.TELL_END)),
    (P.EARLY, S.CANCEL): (P.TERMINATED, (A.TELL_END,)),
    (P.EARLY, S.BYE): (P.TERMINATED, (A.ANSWER_BYE, A.REFUSE_INVITE, A.TELL_END)),
    (P.ACCEPTED, S.ACK): (P.CONFIRMED, (A.CONFIRM,)),
    (P.ACCEPTED, S.NO_ACK): (P.RELEASING, (A.SEND_BYE, A.TELL_END)),
    (P.ACCEPTED, S.RELEASE): (P.ENDING, (A.TELL_END,)),
    (P.ACCEPTED, S.LOST): (P.ENDING, (A.TELL_END,)),
    (P.ACCEPTED, S.CANCEL): (P.OVERTAKEN, (A.TELL_END,)),
    (P.ACCEPTED, S.BYE): (P.TERMINATED, (A.ANSWER_BYE, A.TELL_END)),
    (P.ENDING, S.ACK): (P.RELEASING, (A.SEND_BYE,)),
    (P.ENDING, S.NO_ACK): (P.RELEASING, (A.SEND_BYE,)),
    (P.ENDING, S.CANCEL): (P.OVERTAKEN, ()),
    (P.ENDING, S.BYE): (P.TERMINATED, (A.ANSWER_BYE,)),
    (P.OVERTAKEN, S.ACK): (P.RELEASING, (A.SEND_BYE,)),
    (P.OVERTAKEN, S.NO_ACK): (P.TERMINATED, ()),
    (P.OVERTAKEN, S.BYE): (P.TERMINATED, (A.ANSWER_BYE,)),
    # both
    (P.CONFIRMED, S.RELEASE): (P.RELEASING, (A.SEND_BYE, A.TELL_END)),
    (P.CONFIRMED, S.LOST): (P.RELEASING, (A.SEND_BYE, A.TELL_END)),  # PFS-10
    (P.CONFIRMED, S.NO_ACK): (P.RELEASING, (A.SEND_BYE, A.TELL_END)),  # of a re-INVITE (14.2)
    (P.CONFIRMED, S.BYE): (P.TERMINATED, (A.ANSWER_BYE, A.TELL_END)),  # PFS-09
    (P.RELEASING, S.BYE): (P.RELEASING, (A.ANSWER_BYE,)),
    (P.RELEASING, S.BYE_DONE): (P.TERMINATED, ()),
}
"""What is not in the table changes nothing: a late provisional response, a repeated 2xx, an ACK too many."""

ENDED = frozenset({P.WITHDRAWN, P.CANCELLING, P.ENDING, P.OVERTAKEN, P.RELEASING, P.TERMINATED})
"""The owner has been told that the leg is over; what remains is between us and the peer."""
IN_DIALOG = frozenset({P.EARLY, P.ACCEPTED, P.CONFIRMED})
"""Requests of the peer inside the dialog are taken."""


def move(phase: Phase, signal: Signal) -> tuple[Phase, tuple[Act, ...]]:
    """The next phase and what to do on the way."""
    return TABLE.get((phase, signal), (phase, ()))
