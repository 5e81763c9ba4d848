"""RFC 3994: the document and the two machines."""

import pytest

from msrp_worker.is_composing import (
    DEFAULT_REFRESH,
    IDLE_TIMEOUT,
    MAXIMUM_REFRESH,
    Composing,
    Event,
    Receiver,
    Sender,
    State,
    parse,
)
from msrp_worker.safe_xml import XmlError

GOLDEN = (
    b"<?xml version='1.0' encoding='UTF-8'?>\n"
    b'<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state>'
    b"<contenttype>text/plain</contenttype><refresh>90</refresh></isComposing>"
)


def document(state: str, refresh: str) -> bytes:
    return GOLDEN.replace(b"active", state.encode()).replace(b"90", refresh.encode())


@pytest.mark.requirement("MED-09")
def test_golden() -> None:
    composing = Composing(State.ACTIVE, 90, "text/plain")
    assert composing.build() == GOLDEN
    assert parse(GOLDEN) == composing


@pytest.mark.requirement("MED-09")
@pytest.mark.parametrize(
    ("state", "refresh", "expected"),
    [
        ("idle", "90", (State.IDLE, 90)),
        (" active ", " 1 ", (State.ACTIVE, 1)),
        ("typing", "90", (State.IDLE, 90)),  # RFC 3994 3.5: other words are idle
        ("active", "0", (State.ACTIVE, None)),
        ("active", "-5", (State.ACTIVE, None)),
        ("active", "soon", (State.ACTIVE, None)),
        ("active", "999999999", (State.ACTIVE, MAXIMUM_REFRESH)),
        ("active", "9" * 50, (State.ACTIVE, None)),
        ("active", "²", (State.ACTIVE, None)),
    ],
)
def test_reads(state: str, refresh: str, expected: tuple[State, int | None]) -> None:
    found = parse(document(state, refresh))
    assert (found.state, found.refresh) == expected


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"active",
        b"<isComposing/>",
        GOLDEN.replace(b"im-iscomposing", b"other"),
        GOLDEN.replace(b"<state>active</state>", b""),
        b'<!DOCTYPE x [<!ENTITY e "y">]>' + GOLDEN.partition(b"\n")[2],
    ],
)
def test_refuses(data: bytes) -> None:
    with pytest.raises(XmlError):
        parse(data)


def sender_run(sender: Sender, steps: list[tuple[float, Event | None]]) -> list[tuple[float, State]]:
    """Drive a sender by (time, event or None for a tick); answers what it sent when."""
    sent = []
    for now, event in steps:
        sender, message = sender.step(event, now) if event else sender.tick(now)
        if message is not None:
            sent.append((now, message.state))
    return sent


@pytest.mark.requirement("MED-09")
@pytest.mark.parametrize(
    ("steps", "sent"),
    [
        # one status message for a message written in one go
        ([(0, Event.COMPOSE), (1, Event.COMPOSE), (5, Event.SENT), (60, None)], [(0, State.ACTIVE)]),
        # stopping sends idle once
        (
            [(0, Event.COMPOSE), (14, None), (IDLE_TIMEOUT, None), (99, None)],
            [(0, State.ACTIVE), (IDLE_TIMEOUT, State.IDLE)],
        ),
        # going on repeats active at the refresh interval
        (
            [(0, Event.COMPOSE), *((t, Event.COMPOSE) for t in range(10, 125, 10)), (120, None), (121, None)],
            [(0, State.ACTIVE), (120, State.ACTIVE)],
        ),
        ([(0, Event.SENT), (0, None)], []),
    ],
)
def test_sender(steps: list[tuple[float, Event | None]], sent: list[tuple[float, State]]) -> None:
    assert sender_run(Sender(), steps) == sent


def test_sender_deadlines_and_announced_refresh() -> None:
    sender, message = Sender(refresh=10).step(Event.COMPOSE, 100.0)
    assert message == Composing(State.ACTIVE, refresh=60)  # never under the minimum
    assert sender.deadline() == 100.0 + IDLE_TIMEOUT
    assert Sender().deadline() is None
    quiet, message = Sender(refresh=None).step(Event.COMPOSE, 0)
    assert message == Composing(State.ACTIVE)
    assert quiet.deadline() == IDLE_TIMEOUT


@pytest.mark.requirement("MED-09")
def test_receiver() -> None:
    active = Composing(State.ACTIVE, refresh=90)
    receiver = Receiver().receive(active, now=0)
    assert receiver.state is State.ACTIVE
    assert receiver.tick(89.9).state is State.ACTIVE
    assert receiver.tick(90).state is State.IDLE
    assert receiver.receive(active, now=80).tick(90).state is State.ACTIVE
    assert receiver.receive(Composing(State.IDLE), now=1).state is State.IDLE
    assert receiver.content().state is State.IDLE
    unannounced = Receiver().receive(Composing(State.ACTIVE), now=0)
    assert unannounced.tick(DEFAULT_REFRESH - 1).state is State.ACTIVE
    assert unannounced.tick(DEFAULT_REFRESH).state is State.IDLE
