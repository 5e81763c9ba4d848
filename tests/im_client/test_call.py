"""The life of a call, row by row, and the races of RFC 3261 sections 9, 13.2.2.4 and 15."""

from __future__ import annotations

import pytest

from im_client.call import TABLE, Do, State, What, step

S, W = State, What

RACES = [
    # state at the start, what happens, state at the end, what was done
    (S.INVITING, [W.PROVISIONAL, W.SUCCESS], S.ESTABLISHED, [Do.TELL, Do.ACK, Do.START]),
    (S.INVITING, [W.SUCCESS, W.SUCCESS], S.ESTABLISHED, [Do.ACK, Do.START, Do.ACK]),  # our ACK was lost
    (S.INVITING, [W.CANCEL], S.CANCEL_WANTED, []),  # no CANCEL before a provisional response
    (S.INVITING, [W.CANCEL, W.PROVISIONAL], S.CANCELLING, [Do.SEND_CANCEL]),
    (S.INVITING, [W.CANCEL, W.RETRY], S.ENDED, [Do.FAIL]),  # a challenge came in place of an answer
    (S.INVITING, [W.PROVISIONAL, W.CANCEL, W.FAILURE], S.ENDED, [Do.TELL, Do.SEND_CANCEL, Do.FAIL]),
    (S.INVITING, [W.PROVISIONAL, W.CANCEL, W.SUCCESS], S.ENDED, [Do.TELL, Do.SEND_CANCEL, Do.ACK_AND_BYE, Do.FAIL]),
    (S.INVITING, [W.PROVISIONAL, W.CANCEL, W.CANCEL_TIMEOUT], S.ENDED, [Do.TELL, Do.SEND_CANCEL, Do.FORGET, Do.FAIL]),
    (S.INVITING, [W.PROVISIONAL, W.CANCEL, W.CANCEL], S.CANCELLING, [Do.TELL, Do.SEND_CANCEL]),
    (S.INVITING, [W.SUCCESS, W.CANCEL], S.ESTABLISHED, [Do.ACK, Do.START]),  # too late
    (S.RECEIVED, [W.ACCEPT, W.ACK], S.ESTABLISHED, [Do.ANSWER, Do.START]),
    (S.RECEIVED, [W.CANCELLED, W.ACCEPT], S.ENDED, [Do.TERMINATE, Do.END]),
    (S.RECEIVED, [W.ACCEPT, W.CANCELLED], S.ANSWERED, [Do.ANSWER]),  # the CANCEL crossed our 200
    (S.RECEIVED, [W.ACCEPT, W.ACK_MISSING], S.ENDED, [Do.ANSWER, Do.BYE, Do.END]),
    (S.RECEIVED, [W.ACCEPT, W.CLOSE, W.ACK], S.ENDED, [Do.ANSWER, Do.BYE, Do.END]),  # no BYE before the ACK
    (S.RECEIVED, [W.ACCEPT, W.CLOSE, W.BYE], S.ENDED, [Do.ANSWER, Do.END]),
    (S.RECEIVED, [W.REFUSE, W.CANCELLED], S.ENDED, [Do.REFUSE, Do.END]),
    (S.ESTABLISHED, [W.BYE, W.CLOSE, W.EXPIRED], S.ENDED, [Do.END]),
    (S.ESTABLISHED, [W.CLOSE, W.BYE], S.ENDED, [Do.BYE, Do.END]),
    (S.ESTABLISHED, [W.GONE], S.ENDED, [Do.BYE, Do.END]),
]


@pytest.mark.parametrize(("state", "happening", "end", "done"), RACES)
@pytest.mark.requirement("CLI-03", "CLI-04")
def test_race(state: State, happening: list[What], end: State, done: list[Do]) -> None:
    found: list[Do] = []
    for what in happening:
        state, more = step(state, what)
        found += more
    assert (state, found) == (end, done)


def test_every_state_but_the_last_can_end() -> None:
    leads = {state: {row[0] for (start, _), row in TABLE.items() if start is state} for state in State}
    for state in State:
        reached, front = {state}, {state}
        while front:
            front = {after for one in front for after in leads[one]} - reached
            reached |= front
        assert State.ENDED in reached, state


def test_nothing_follows_the_end_but_acks_for_repeated_answers() -> None:
    assert {what for (state, what) in TABLE if state is State.ENDED} == {What.SUCCESS}


def test_every_end_of_a_session_is_told_once() -> None:
    for (_, what), (state, *doing) in TABLE.items():
        if state is State.ENDED and what is not What.SUCCESS:
            assert sum(do in (Do.END, Do.FAIL) for do in doing) == 1
