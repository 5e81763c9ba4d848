"""The table of a delivery: nothing is deleted before it was acknowledged, everything ends (DEF-05, DEF-13)."""

from __future__ import annotations

import random

import pytest

from msrp_worker.deferred import delivery as d
from msrp_worker.deferred.delivery import (
    Acknowledged,
    Answered,
    Broken,
    Claim,
    Claimed,
    Delete,
    Deleted,
    Delivery,
    Effect,
    Event,
    HangUp,
    Item,
    NotDeleted,
    Over,
    Phase,
    Progress,
    Ready,
    Renew,
    Send,
    Skipped,
    Tick,
    begin,
    step,
)


def items(*numbers: int, size: int = 100) -> tuple[Item, ...]:
    return tuple(Item(str(number), size) for number in numbers)


def run(state: Delivery, *events: Event, now: float = 0.0) -> tuple[Delivery, list[list[Effect]]]:
    told = []
    for event in events:
        state, effects = step(state, event, now)
        told.append(effects)
    return state, told


def sending(*numbers: int, more: bool = False, size: int = 100) -> tuple[Delivery, list[Effect]]:
    state, told = run(begin(items(*numbers, size=size), 0.0, more=more), Answered(), Ready())
    return state, told[-1]


@pytest.mark.requirement("DEF-03", "DEF-05")
def test_a_push_of_three() -> None:
    state, told = run(
        begin(items(1, 2, 3), 0.0, more=True),
        Answered(),
        Ready(),
        Claimed(()),
        Acknowledged("1"),
        Acknowledged("2"),
        Deleted(),
        Acknowledged("3"),
        Deleted(),
        Deleted(),
    )
    assert told == [
        [],
        [Send(("1", "2", "3")), Claim()],
        [],
        [Delete(("1",))],
        [],  # one deletion at a time
        [Delete(("2",))],
        [HangUp("")],  # the BYE follows the last acknowledgement
        [Delete(("3",))],
        [Over()],
    ]
    assert (state.phase, state.delivered) == (Phase.OVER, 3)


@pytest.mark.requirement("DEF-05")
def test_messages_that_come_meanwhile_go_too() -> None:
    state, _ = sending(1, more=True)
    state, told = run(state, Claimed(items(2)), Claimed(()), Acknowledged("1"), Acknowledged("2"))
    assert told[0] == [Send(("2",)), Claim()]
    assert told[3] == [HangUp("")]


@pytest.mark.requirement("DEF-05")
def test_a_delivery_of_nothing_says_goodbye() -> None:
    state, effects = sending()
    assert effects == [HangUp(""), Over()]
    assert state.phase is Phase.OVER


@pytest.mark.requirement("DEF-05")
@pytest.mark.parametrize("before", [(), (Answered(),), (Answered(), Ready())], ids=["calling", "connecting", "sending"])
def test_an_interruption_leaves_the_rest(before: tuple[Event, ...]) -> None:
    state, _ = run(begin(items(1, 2), 0.0, more=False), *before)
    state, told = run(state, Broken("gone"), Acknowledged("1"), Ready(), Answered(), Broken("again"))
    assert told == [[HangUp("gone"), Over()], [], [], [], []]
    assert (state.phase, state.delivered, state.why) == (Phase.OVER, 0, "gone")


@pytest.mark.requirement("DEF-05")
def test_what_was_acknowledged_before_the_interruption_is_deleted() -> None:
    state, _ = sending(1, 2, 3)
    state, told = run(state, Acknowledged("1"), Acknowledged("2"), Broken("gone"), Deleted(), Deleted())
    assert told == [[Delete(("1",))], [], [HangUp("gone")], [Delete(("2",))], [Over()]]
    assert state.delivered == 2


def test_a_refused_message_stays_and_the_others_go_on() -> None:
    state, _ = sending(1, 2)
    state, told = run(state, Skipped("1"), Acknowledged("2"), Deleted())
    assert told == [[], [HangUp(""), Delete(("2",))], [Over()]]
    assert state.skipped == ("1",)


@pytest.mark.requirement("DEF-05")
def test_the_window_in_messages_and_in_bytes() -> None:
    state, effects = sending(*range(100))
    assert effects == [Send(tuple(map(str, range(d.WINDOW_MESSAGES))))]
    state, told = run(state, Acknowledged("0"), Acknowledged("1"), Deleted())
    assert told == [[Delete(("0",))], [], [Send((str(d.WINDOW_MESSAGES),)), Delete(("1",))]]
    state, effects = sending(*range(10), size=100_000)
    assert effects == [Send(("0", "1"))]
    assert step(state, Acknowledged("0"), 0.0)[1] == [Send(("2",)), Delete(("0",))]
    state, effects = sending(0, 1, size=1 << 30)
    assert effects == [Send(("0",))]
    assert step(state, Acknowledged("0"), 0.0)[1][0] == Send(("1",))


@pytest.mark.requirement("DEF-05")
@pytest.mark.parametrize(
    ("events", "why"),
    [((), "no answer"), ((Answered(),), "connect"), ((Answered(), Ready()), "takes no messages")],
)
def test_a_client_that_goes_silent_is_given_up(events: tuple[Event, ...], why: str) -> None:
    state, _ = run(begin(items(1), 0.0, more=False), *events)
    assert step(state, Tick(), 29.9)[0].phase is state.phase
    state, effects = step(state, Tick(), 120.0)
    assert isinstance(effects[0], HangUp)
    assert why in effects[0].why
    assert state.phase is Phase.OVER


def test_progress_and_acknowledgements_keep_it_alive() -> None:
    state, _ = sending(1, 2)
    state, _ = step(state, Progress(), 50.0)
    state, _ = step(state, Acknowledged("1"), 100.0)
    assert step(state, Tick(), 150.0)[0].phase is Phase.SENDING
    assert step(state, Tick(), 161.0)[0].phase is Phase.ENDING


@pytest.mark.requirement("DEF-13")
def test_the_lease_is_renewed_as_long_as_it_lasts() -> None:
    state = begin(items(1), 0.0, more=False)
    for turn in range(1, 4):
        at = state.next_deadline()
        assert at == turn * d.RENEW_S
        state, effects = step(state, Tick(), at)
        assert effects == [Renew()]
    state, _ = step(state, Broken("x"), 100.0)
    assert state.next_deadline() is None


def test_a_deletion_is_tried_again_and_given_up_in_the_end() -> None:
    state, _ = sending(1)
    state, told = run(state, Acknowledged("1"), NotDeleted())
    assert told == [[HangUp(""), Delete(("1",))], []]
    state, effects = step(state, Tick(), d.RETRY_S)
    assert effects == [Delete(("1",))]
    state, effects = step(state, Tick(), d.GIVE_UP_S)
    assert effects[-1] == Over()
    assert state.delivered == 0


@pytest.mark.requirement("DEF-05", "DEF-13")
@pytest.mark.parametrize("seed", range(200))
def test_any_order_of_events_deletes_only_what_was_acknowledged_and_ends(seed: int) -> None:
    """A model: random events; what is deleted was acknowledged, each once; it ends with one HangUp and one Over."""
    draw = random.Random(seed)
    state = begin(items(*range(draw.randrange(0, 80))), 0.0, more=draw.random() < 0.5)
    now, next_id = 0.0, 1000
    acknowledged: set[str] = set()
    deleted: list[str] = []
    effects: list[Effect] = []
    while state.phase is not Phase.OVER:
        now += draw.choice([0.0, 0.1, 5.0])
        fly = [item.message_id for item in state.flying]
        choices: list[Event] = [Tick(), Answered(), Ready(), Progress()]
        if fly:
            choices += [Acknowledged(draw.choice(fly)), Acknowledged(draw.choice(fly)), Skipped(draw.choice(fly))]
        if state.claiming:
            choices.append(Claimed(items(*range(next_id, next_id := next_id + draw.randrange(0, 3)))))
        if state.deleting and state.retry_at == float("inf"):
            choices += [Deleted(), Deleted(), NotDeleted()]
        if draw.random() < 0.01:
            choices = [Broken("chance")]
        event = draw.choice(choices)
        if isinstance(event, Acknowledged):
            acknowledged.add(event.message_id)
        before = state
        state, told = step(state, event, now)
        if isinstance(event, Deleted):
            deleted += before.deleting
        for effect in told:
            if isinstance(effect, Delete):
                assert set(effect.message_ids) <= acknowledged
        effects += told
    assert len(deleted) == len(set(deleted)) == state.delivered
    assert sum(isinstance(effect, HangUp) for effect in effects) == 1
    assert sum(isinstance(effect, Over) for effect in effects) == 1
    sent = [message_id for effect in effects if isinstance(effect, Send) for message_id in effect.message_ids]
    assert sent == sorted(sent, key=int), "in order of arrival"
    assert len(sent) == len(set(sent))
