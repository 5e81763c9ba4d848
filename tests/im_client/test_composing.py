"""isComposing: documents, composer, watcher, and on the wire (RFC 3994)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from im_client.composing import Composer, Composes, Status, Watcher, build, compose, parse
from im_client.errors import MalformedMessageError

TIME = datetime(2003, 1, 27, 10, 43, tzinfo=UTC)
NAMESPACE = b"urn:ietf:params:xml:ns:im-iscomposing"


def document(inner: bytes) -> bytes:
    return b'<i:isComposing xmlns:i="' + NAMESPACE + b'" xmlns:o="urn:other">' + inner + b"</i:isComposing>"


@pytest.mark.parametrize(
    "status",
    [
        Status(active=True, refresh=90, media="text/plain"),
        Status(active=False, media="audio", last_active=TIME),
        Status(active=True),
    ],
)
def test_there_and_back(status: Status) -> None:
    assert parse(build(status)) == status


def test_golden_bytes() -> None:
    assert build(Status(active=False, refresh=90, media="audio", last_active=TIME)) == (
        b"<?xml version='1.0' encoding='UTF-8'?>\n"
        b'<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>idle</state>'
        b"<lastactive>2003-01-27T10:43:00Z</lastactive><contenttype>audio</contenttype>"
        b"<refresh>90</refresh></isComposing>"
    )


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (b"<i:state> active </i:state><o:mood>x</o:mood>", Status(active=True)),
        (b"<i:state>pondering</i:state>", Status(active=False)),  # section 3.5: other tokens are idle
        (b"<i:state>active</i:state><i:refresh>0</i:refresh>", Status(active=True)),
        (
            b"<i:state>active</i:state><i:refresh>x</i:refresh><i:lastactive>y</i:lastactive>",
            Status(active=True),
        ),
    ],
)
def test_read_leniently(inner: bytes, expected: Status) -> None:
    assert parse(document(inner)) == expected


@pytest.mark.parametrize(
    "data", [b"", b"<x", b"<isComposing><state>idle</state></isComposing>", document(b"")]
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        parse(data)


ACTIVE = Status(active=True, refresh=60, media="text/plain")
IDLE = Status(active=False, media="text/plain")


@pytest.mark.parametrize(
    ("events", "sent"),
    [
        ([(Composes.TYPED, 0.0)], [ACTIVE]),
        ([(Composes.TYPED, 0.0), (Composes.TYPED, 5.0)], [ACTIVE]),
        ([(Composes.TYPED, 0.0), (Composes.SENT, 5.0)], [ACTIVE]),
        ([(Composes.TYPED, 0.0), (Composes.SENT, 5.0), (Composes.TYPED, 6.0)], [ACTIVE, ACTIVE]),
        ([(Composes.TYPED, 0.0), (Composes.TICK, 14.9)], [ACTIVE]),
        ([(Composes.TYPED, 0.0), (Composes.TICK, 15.0)], [ACTIVE, IDLE]),
        ([(Composes.TYPED, 0.0), (Composes.TICK, 15.0), (Composes.TICK, 99.0)], [ACTIVE, IDLE]),
        ([(Composes.TYPED, float(t)) for t in range(0, 60, 10)] + [(Composes.TICK, 60.0)], [ACTIVE, ACTIVE]),
        (
            [(Composes.TYPED, 0.0), (Composes.REFUSED, 1.0), (Composes.TYPED, 2.0), (Composes.TICK, 99.0)],
            [ACTIVE],
        ),
        ([(Composes.TICK, 99.0)], []),
    ],
)
def test_composer(events: list[tuple[Composes, float]], sent: list[Status]) -> None:
    composer, found = Composer(), []
    for event, now in events:
        composer, more = compose(composer, event, now)
        found += more
    assert found == sent


def test_deadlines_of_the_composer() -> None:
    composer = Composer(refresh=60)
    assert composer.deadline is None
    composer, _ = compose(composer, Composes.TYPED, 100.0)
    assert composer.deadline == 115.0
    composer, _ = compose(composer, Composes.SENT, 101.0)
    assert composer.deadline is None


def test_watcher() -> None:
    watcher = Watcher()
    assert not watcher.active(0.0)
    watcher = watcher.saw(Status(active=True), 0.0)
    assert watcher.active(119.9)
    assert not watcher.active(120.0)
    watcher = watcher.saw(Status(active=True, refresh=60), 10.0)
    assert watcher.active(69.9)
    assert not watcher.active(70.0)
    assert not watcher.saw(Status(active=False), 20.0).active(20.0)
    assert not watcher.saw(None, 20.0).active(20.0)


@pytest.mark.requirement("PAG-20", "CLI-05")
async def test_on_the_wire(stage) -> None:
    task = stage.start(stage.client.send_composing("sip:bob@example.com", refresh=60))
    request = await stage.peer.expect("MESSAGE")
    assert request.header("Content-Type") == "application/im-iscomposing+xml"
    assert parse(request.message.body) == ACTIVE
    request.reply(200)
    await task
    body = build(IDLE)
    stage.peer.send(
        stage.peer.request("MESSAGE", "Content-Type: Application/im-isComposing+XML;charset=UTF-8", body=body)
    )
    await stage.peer.expect(200)
    message = await stage.client.next_message()
    assert message.composing == IDLE
    assert message.body == body


@pytest.mark.parametrize(
    ("kind", "body"), [("text/plain", build(IDLE)), ("application/im-iscomposing+xml", b"<nonsense")]
)
async def test_what_is_no_status_is_none(udp_stage, kind: str, body: bytes) -> None:
    await udp_stage.speak()
    udp_stage.peer.send(udp_stage.peer.request("MESSAGE", f"Content-Type: {kind}", body=body))
    await udp_stage.peer.expect(200)
    assert (await udp_stage.client.next_message()).composing is None


@pytest.mark.requirement("PAG-20")
async def test_after_415_no_status_is_sent_to_that_address(udp_stage) -> None:
    task = udp_stage.start(udp_stage.client.send_composing("sip:bob@example.com"))
    (await udp_stage.peer.expect("MESSAGE")).reply(415)
    assert (await task).status == 415
    assert await udp_stage.client.send_composing("sip:bob@example.com") is None
    task = udp_stage.start(udp_stage.client.send_composing("sip:carol@example.com", active=False))
    (await udp_stage.peer.expect("MESSAGE")).reply(200)
    assert (await task).ok
