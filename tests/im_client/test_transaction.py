"""The tables of RFC 3261 section 17, row by row, and their timers."""

from __future__ import annotations

import pytest

from im_client.timers import BaseTimers
from im_client.transaction import (
    TABLES,
    TIMER_EVENTS,
    Deliver,
    Effect,
    Event,
    Machine,
    On,
    Send,
    State,
    TimedOut,
    Transaction,
    TransportFailed,
    fire,
    step,
)

CLIENT, SERVER = Machine.NON_INVITE_CLIENT, Machine.NON_INVITE_SERVER
INVITING, INVITED = Machine.INVITE_CLIENT, Machine.INVITE_SERVER
REQUEST, FINAL = b"request", b"final"


def run(transaction: Transaction, *events: Event, now: float = 0.0) -> tuple[Transaction, list[Effect]]:
    effects: list[Effect] = []
    for event in events:
        transaction, more = step(transaction, event, now)
        effects += more
    return transaction, effects


def sent_client(*, reliable: bool = False) -> Transaction:
    return run(Transaction(CLIENT, reliable), Event(On.START, REQUEST))[0]


ROWS = [
    # machine, events so far, event, expected state, expected effects
    (CLIENT, [], Event(On.START, REQUEST), State.TRYING, [Send(REQUEST)]),
    (CLIENT, [On.START], Event(On.PROVISIONAL), State.PROCEEDING, [Deliver()]),
    (CLIENT, [On.START], Event(On.FINAL), State.COMPLETED, [Deliver()]),
    (CLIENT, [On.START], Event(On.TIMER_E), State.TRYING, [Send(REQUEST)]),
    (CLIENT, [On.START], Event(On.TIMER_F), State.TERMINATED, [TimedOut()]),
    (CLIENT, [On.START], Event(On.TRANSPORT_ERROR, error="x"), State.TERMINATED, [TransportFailed("x")]),
    (CLIENT, [On.START, On.PROVISIONAL], Event(On.PROVISIONAL), State.PROCEEDING, [Deliver()]),
    (CLIENT, [On.START, On.PROVISIONAL], Event(On.FINAL), State.COMPLETED, [Deliver()]),
    (CLIENT, [On.START, On.PROVISIONAL], Event(On.TIMER_E), State.PROCEEDING, [Send(REQUEST)]),
    (CLIENT, [On.START, On.PROVISIONAL], Event(On.TIMER_F), State.TERMINATED, [TimedOut()]),
    (
        CLIENT,
        [On.START, On.PROVISIONAL],
        Event(On.TRANSPORT_ERROR, error="x"),
        State.TERMINATED,
        [TransportFailed("x")],
    ),
    (CLIENT, [On.START, On.FINAL], Event(On.FINAL), State.COMPLETED, []),
    (CLIENT, [On.START, On.FINAL], Event(On.PROVISIONAL), State.COMPLETED, []),
    (CLIENT, [On.START, On.FINAL], Event(On.TRANSPORT_ERROR, error="x"), State.COMPLETED, []),
    (CLIENT, [On.START, On.FINAL], Event(On.TIMER_K), State.TERMINATED, []),
    (SERVER, [], Event(On.START), State.TRYING, [Deliver()]),
    (SERVER, [On.START], Event(On.REQUEST), State.TRYING, []),
    (SERVER, [On.START], Event(On.PROVISIONAL, b"100"), State.PROCEEDING, [Send(b"100")]),
    (SERVER, [On.START], Event(On.FINAL, FINAL), State.COMPLETED, [Send(FINAL)]),
    (
        SERVER,
        [On.START],
        Event(On.TRANSPORT_ERROR, error="x"),
        State.TERMINATED,
        [TransportFailed("x")],
    ),
    (SERVER, [On.START, On.PROVISIONAL], Event(On.REQUEST), State.PROCEEDING, [Send(REQUEST)]),
    (SERVER, [On.START, On.PROVISIONAL], Event(On.PROVISIONAL, b"182"), State.PROCEEDING, [Send(b"182")]),
    (SERVER, [On.START, On.PROVISIONAL], Event(On.FINAL, FINAL), State.COMPLETED, [Send(FINAL)]),
    (
        SERVER,
        [On.START, On.PROVISIONAL],
        Event(On.TRANSPORT_ERROR, error="x"),
        State.TERMINATED,
        [TransportFailed("x")],
    ),
    (SERVER, [On.START, On.FINAL], Event(On.REQUEST), State.COMPLETED, [Send(REQUEST)]),
    (SERVER, [On.START, On.FINAL], Event(On.FINAL, b"other"), State.COMPLETED, []),
    (SERVER, [On.START, On.FINAL], Event(On.TIMER_J), State.TERMINATED, []),
    (
        SERVER,
        [On.START, On.FINAL],
        Event(On.TRANSPORT_ERROR, error="x"),
        State.TERMINATED,
        [TransportFailed("x")],
    ),
    (INVITING, [], Event(On.START, REQUEST), State.CALLING, [Send(REQUEST)]),
    (INVITING, [On.START], Event(On.TIMER_A), State.CALLING, [Send(REQUEST)]),
    (INVITING, [On.START], Event(On.TIMER_B), State.TERMINATED, [TimedOut()]),
    (INVITING, [On.START], Event(On.TRANSPORT_ERROR, error="x"), State.TERMINATED, [TransportFailed("x")]),
    (INVITING, [On.START], Event(On.PROVISIONAL), State.PROCEEDING, [Deliver()]),
    (INVITING, [On.START], Event(On.SUCCESS), State.ACCEPTED, [Deliver()]),
    (INVITING, [On.START], Event(On.FINAL, b"ack"), State.COMPLETED, [Send(b"ack"), Deliver()]),
    (INVITING, [On.START, On.PROVISIONAL], Event(On.PROVISIONAL), State.PROCEEDING, [Deliver()]),
    (INVITING, [On.START, On.PROVISIONAL], Event(On.SUCCESS), State.ACCEPTED, [Deliver()]),
    (INVITING, [On.START, On.PROVISIONAL], Event(On.FINAL, b"ack"), State.COMPLETED, [Send(b"ack"), Deliver()]),
    (INVITING, [On.START, On.PROVISIONAL], Event(On.TRANSPORT_ERROR, error="x"), State.TERMINATED, [TransportFailed("x")]),
    (INVITING, [On.START, On.PROVISIONAL], Event(On.TIMER_A), State.PROCEEDING, []),
    (INVITING, [On.START, On.FINAL], Event(On.FINAL, b"other"), State.COMPLETED, [Send(REQUEST)]),
    (INVITING, [On.START, On.FINAL], Event(On.TRANSPORT_ERROR, error="x"), State.TERMINATED, []),
    (INVITING, [On.START, On.FINAL], Event(On.TIMER_D), State.TERMINATED, []),
    (INVITING, [On.START, On.FINAL], Event(On.SUCCESS), State.COMPLETED, []),
    (INVITING, [On.START, On.SUCCESS], Event(On.SUCCESS), State.ACCEPTED, [Deliver()]),
    (INVITING, [On.START, On.SUCCESS], Event(On.PROVISIONAL), State.ACCEPTED, []),
    (INVITING, [On.START, On.SUCCESS], Event(On.TRANSPORT_ERROR, error="x"), State.ACCEPTED, []),
    (INVITING, [On.START, On.SUCCESS], Event(On.TIMER_M), State.TERMINATED, []),
    (INVITED, [], Event(On.START, b"100"), State.PROCEEDING, [Deliver()]),
    (INVITED, [On.START], Event(On.TIMER_TRYING), State.PROCEEDING, [Send(REQUEST)]),
    (INVITED, [On.START], Event(On.REQUEST), State.PROCEEDING, [Send(REQUEST)]),
    (INVITED, [On.START], Event(On.PROVISIONAL, b"180"), State.PROCEEDING, [Send(b"180")]),
    (INVITED, [On.START], Event(On.SUCCESS, b"200"), State.ACCEPTED, [Send(b"200")]),
    (INVITED, [On.START], Event(On.FINAL, b"486"), State.COMPLETED, [Send(b"486")]),
    (INVITED, [On.START], Event(On.TRANSPORT_ERROR, error="x"), State.TERMINATED, [TransportFailed("x")]),
    (INVITED, [On.START, On.FINAL], Event(On.REQUEST), State.COMPLETED, [Send(REQUEST)]),
    (INVITED, [On.START, On.FINAL], Event(On.TIMER_G), State.COMPLETED, [Send(REQUEST)]),
    (INVITED, [On.START, On.FINAL], Event(On.TIMER_H), State.TERMINATED, [TimedOut()]),
    (INVITED, [On.START, On.FINAL], Event(On.ACK), State.CONFIRMED, []),
    (INVITED, [On.START, On.FINAL], Event(On.TRANSPORT_ERROR, error="x"), State.TERMINATED, [TransportFailed("x")]),
    (INVITED, [On.START, On.FINAL, On.ACK], Event(On.REQUEST), State.CONFIRMED, []),
    (INVITED, [On.START, On.FINAL, On.ACK], Event(On.TIMER_I), State.TERMINATED, []),
    (INVITED, [On.START, On.SUCCESS], Event(On.REQUEST), State.ACCEPTED, []),
    (INVITED, [On.START, On.SUCCESS], Event(On.SUCCESS, b"200"), State.ACCEPTED, [Send(b"200")]),
    (INVITED, [On.START, On.SUCCESS], Event(On.TIMER_L), State.TERMINATED, []),
]


@pytest.mark.parametrize(("machine", "before", "event", "state", "effects"), ROWS)
def test_table_row(machine: Machine, before: list[On], event: Event, state: State, effects: list[Effect]) -> None:
    transaction, _ = run(Transaction(machine, False), *[Event(on, REQUEST) for on in before])
    after, found = step(transaction, event, 0.0)
    assert (after.state, list(found)) == (state, effects)


def test_every_row_of_the_tables_has_a_test() -> None:
    tested = set()
    for machine, before, event, _, _ in ROWS:
        state = run(Transaction(machine, False), *[Event(on, REQUEST) for on in before])[0].state
        tested.add((machine, state, event.on))
    assert tested >= {(machine, *row) for machine, table in TABLES.items() for row in table}


def send_times(transaction: Transaction, until: float, provisional_at: float = -1.0) -> list[float]:
    """When the request is sent again, running the transaction's own timers."""
    times = []
    while transaction.deadline is not None and transaction.deadline <= until:
        now = transaction.deadline
        if 0 <= provisional_at <= now:
            transaction, _ = step(transaction, Event(On.PROVISIONAL), provisional_at)
            provisional_at = -1.0
        transaction, effects = fire(transaction, now)
        times += [round(now, 3) for effect in effects if isinstance(effect, Send)]
    return times


def test_request_is_repeated_at_doubling_intervals_up_to_t2_until_timer_f() -> None:
    assert send_times(sent_client(), 100.0) == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]


def test_after_a_provisional_response_the_request_is_repeated_every_t2() -> None:
    assert send_times(sent_client(), 16.0, provisional_at=0.2) == [0.5, 4.5, 8.5, 12.5]


def test_no_repetition_over_a_reliable_transport() -> None:
    transaction = sent_client(reliable=True)
    assert send_times(transaction, 100.0) == []
    after, effects = fire(transaction, 32.0)
    assert after.terminated
    assert effects == (TimedOut(),)


def test_timer_f_is_64_t1() -> None:
    transaction = run(Transaction(CLIENT, True, BaseTimers(t1=2.0)), Event(On.START, REQUEST), now=10.0)[0]
    assert transaction.deadline == 138.0


@pytest.mark.parametrize(("reliable", "kept"), [(False, 5.0), (True, 0.0)])
def test_client_absorbs_responses_for_t4_on_unreliable_transports_only(reliable: bool, kept: float) -> None:
    transaction, _ = run(sent_client(reliable=reliable), Event(On.FINAL), now=1.0)
    if not kept:
        assert transaction.terminated
        return
    assert transaction.deadline == 1.0 + kept
    assert fire(transaction, 1.0 + kept)[0].terminated


@pytest.mark.parametrize(("reliable", "kept"), [(False, 32.0), (True, 0.0)])
def test_server_absorbs_requests_for_64_t1_on_unreliable_transports_only(reliable: bool, kept: float) -> None:
    transaction, effects = run(Transaction(SERVER, reliable), Event(On.START), Event(On.FINAL, FINAL), now=1.0)
    assert Send(FINAL) in effects
    if not kept:
        assert transaction.terminated
        return
    assert transaction.deadline == 1.0 + kept
    assert fire(transaction, 1.0 + kept)[0].terminated


def test_a_late_timer_run_does_everything_that_was_due() -> None:
    after, effects = fire(sent_client(), 1000.0)
    assert after.terminated
    assert effects[-1] == TimedOut()
    assert fire(after, 2000.0) == (after, ())


def test_every_timer_has_an_event() -> None:
    assert {on for _, on in [row for table in TABLES.values() for row in table]} >= set(TIMER_EVENTS.values())


def test_an_invite_is_repeated_at_doubling_intervals_without_limit_until_timer_b() -> None:
    transaction, _ = run(Transaction(INVITING, False), Event(On.START, REQUEST))
    assert send_times(transaction, 100.0) == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]


@pytest.mark.parametrize("reliable", [False, True])
def test_an_invite_that_was_heard_of_waits_for_ever(reliable: bool) -> None:
    transaction, _ = run(Transaction(INVITING, reliable), Event(On.START, REQUEST), Event(On.PROVISIONAL))
    assert transaction.deadline is None


def test_a_refusal_is_repeated_up_to_t2_until_its_ack_on_unreliable_transports() -> None:
    transaction, _ = run(Transaction(INVITED, False), Event(On.START, b"100"), Event(On.FINAL, FINAL))
    assert send_times(transaction, 12.0) == [0.5, 1.5, 3.5, 7.5, 11.5]
    transaction, _ = run(Transaction(INVITED, True), Event(On.START, b"100"), Event(On.FINAL, FINAL))
    assert send_times(transaction, 100.0) == []


def test_an_invite_is_answered_100_after_200_ms_unless_something_was_answered() -> None:
    transaction, _ = run(Transaction(INVITED, True), Event(On.START, b"100"))
    assert fire(transaction, 0.2)[1] == (Send(b"100"),)
    transaction, _ = step(transaction, Event(On.PROVISIONAL, b"180"), 0.1)
    assert transaction.deadline is None


@pytest.mark.parametrize("machine", [INVITING, INVITED])
def test_an_accepted_invite_is_kept_for_64_t1_on_any_transport(machine: Machine) -> None:
    transaction, _ = run(Transaction(machine, True), Event(On.START, REQUEST), Event(On.SUCCESS, FINAL), now=1.0)
    assert transaction.deadline == 33.0
