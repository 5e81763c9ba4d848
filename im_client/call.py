"""The life of one INVITE-initiated dialog, either side, as a table (RFC 3261 sections 9, 13, 15). Pure.

`step(state, what)` gives the next state and what is to be done, in order. What has no row changes nothing: a
CANCEL that crosses our 200 is such a case at the callee, a second BYE another.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto


class State(Enum):
    # the caller
    INVITING = auto()  # INVITE sent, nothing heard
    RINGING = auto()  # a provisional response came
    CANCEL_WANTED = auto()  # to be cancelled as soon as a provisional response allows it (section 9.1)
    CANCELLING = auto()  # CANCEL sent
    # the callee
    RECEIVED = auto()  # INVITE received, not answered
    ANSWERED = auto()  # 2xx sent, no ACK yet
    CLOSE_WANTED = auto()  # to be closed as soon as the ACK allows it (section 15)
    # both
    ESTABLISHED = auto()
    ENDED = auto()


class What(Enum):
    """What happens to a call."""

    PROVISIONAL = auto()  # 101-199 received
    SUCCESS = auto()  # 2xx received
    RETRY = auto()  # the INVITE is sent anew: with credentials, to another target, with a longer interval
    FAILURE = auto()  # 3xx-6xx received, or no answer
    CANCEL = auto()  # the application gives up its INVITE
    CANCEL_TIMEOUT = auto()  # 64*T1 after CANCEL without final response
    ACCEPT = auto()  # the application accepts
    REFUSE = auto()  # the application refuses
    CANCELLED = auto()  # the peer sent CANCEL
    ACK = auto()
    ACK_MISSING = auto()  # 64*T1 after our 2xx without ACK
    CLOSE = auto()  # the application hangs up
    BYE = auto()  # the peer hangs up
    EXPIRED = auto()  # the session timer ran out
    GONE = auto()  # a request in the dialog was answered 481 or 408, or not at all


class Do(Enum):
    """What is to be done about it."""

    ACK = auto()  # send ACK, or send it again
    ACK_AND_BYE = auto()  # acknowledge and release at once
    SEND_CANCEL = auto()
    FORGET = auto()  # the INVITE transaction is over for us
    TELL = auto()  # give the provisional response to the application
    START = auto()  # the session is up
    FAIL = auto()  # tell the application that there is none
    ANSWER = auto()  # send 2xx, and again until ACK
    REFUSE = auto()  # send the refusal the application chose
    TERMINATE = auto()  # answer the INVITE 487
    BYE = auto()  # send BYE
    END = auto()  # the session is over


Row = tuple[State, *tuple[Do, ...]]

_OF_CALLER: dict[tuple[State, What], Row] = {
    (State.INVITING, What.PROVISIONAL): (State.RINGING, Do.TELL),
    (State.INVITING, What.SUCCESS): (State.ESTABLISHED, Do.ACK, Do.START),
    (State.INVITING, What.FAILURE): (State.ENDED, Do.FAIL),
    (State.INVITING, What.CANCEL): (State.CANCEL_WANTED,),
    (State.RINGING, What.RETRY): (State.INVITING,),  # the new transaction may not be cancelled yet
    (State.RINGING, What.PROVISIONAL): (State.RINGING, Do.TELL),
    (State.RINGING, What.SUCCESS): (State.ESTABLISHED, Do.ACK, Do.START),
    (State.RINGING, What.FAILURE): (State.ENDED, Do.FAIL),
    (State.RINGING, What.CANCEL): (State.CANCELLING, Do.SEND_CANCEL),
    (State.CANCEL_WANTED, What.RETRY): (State.ENDED, Do.FAIL),
    (State.CANCEL_WANTED, What.PROVISIONAL): (State.CANCELLING, Do.SEND_CANCEL),
    (State.CANCEL_WANTED, What.SUCCESS): (State.ENDED, Do.ACK_AND_BYE, Do.FAIL),
    (State.CANCEL_WANTED, What.FAILURE): (State.ENDED, Do.FAIL),
    (State.CANCELLING, What.RETRY): (State.ENDED, Do.FAIL),
    (State.CANCELLING, What.SUCCESS): (State.ENDED, Do.ACK_AND_BYE, Do.FAIL),  # the 200 crossed our CANCEL
    (State.CANCELLING, What.FAILURE): (State.ENDED, Do.FAIL),
    (State.CANCELLING, What.CANCEL_TIMEOUT): (State.ENDED, Do.FORGET, Do.FAIL),  # section 9.1
}

_OF_CALLEE: dict[tuple[State, What], Row] = {
    (State.RECEIVED, What.ACCEPT): (State.ANSWERED, Do.ANSWER),
    (State.RECEIVED, What.REFUSE): (State.ENDED, Do.REFUSE, Do.END),
    (State.RECEIVED, What.CANCELLED): (State.ENDED, Do.TERMINATE, Do.END),  # section 9.2
    (State.RECEIVED, What.BYE): (State.ENDED, Do.TERMINATE, Do.END),  # section 15.1.2, in an early dialog
    (State.ANSWERED, What.ACK): (State.ESTABLISHED, Do.START),
    (State.ANSWERED, What.ACK_MISSING): (State.ENDED, Do.BYE, Do.END),  # section 13.3.1.4
    (State.ANSWERED, What.CLOSE): (State.CLOSE_WANTED,),
    (State.ANSWERED, What.BYE): (State.ENDED, Do.END),
    (State.CLOSE_WANTED, What.ACK): (State.ENDED, Do.BYE, Do.END),
    (State.CLOSE_WANTED, What.ACK_MISSING): (State.ENDED, Do.BYE, Do.END),
    (State.CLOSE_WANTED, What.BYE): (State.ENDED, Do.END),
}

_OF_BOTH: dict[tuple[State, What], Row] = {
    (State.ESTABLISHED, What.SUCCESS): (State.ESTABLISHED, Do.ACK),  # our ACK was lost (section 13.2.2.4)
    (State.ESTABLISHED, What.ACK_MISSING): (State.ENDED, Do.BYE, Do.END),  # of a re-INVITE (section 14.2)
    (State.ESTABLISHED, What.CLOSE): (State.ENDED, Do.BYE, Do.END),
    (State.ESTABLISHED, What.BYE): (State.ENDED, Do.END),
    (State.ESTABLISHED, What.EXPIRED): (State.ENDED, Do.BYE, Do.END),  # RFC 4028 section 10
    (State.ESTABLISHED, What.GONE): (State.ENDED, Do.BYE, Do.END),  # section 12.2.1.2
    (State.ENDED, What.SUCCESS): (State.ENDED, Do.ACK),
}

TABLE: Mapping[tuple[State, What], Row] = {**_OF_CALLER, **_OF_CALLEE, **_OF_BOTH}


def step(state: State, what: What) -> tuple[State, tuple[Do, ...]]:
    """The state after `what`, and what is to be done; nothing where the table has no row."""
    row = TABLE.get((state, what))
    return (state, ()) if row is None else (row[0], row[1:])
