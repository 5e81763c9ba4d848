"""The operator's view of the sessions: listed in pages, shown, released."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from msrp_worker.controlling.overview import FocusView
from msrp_worker.group import Group, Member
from msrp_worker.msrp import EndpointConfig, MsrpEndpoint
from msrp_worker.operating import PAGE_BYTES, Operating
from msrp_worker.participating.overview import BridgeView
from msrp_worker.session_packets import (
    LONGEST_REASON,
    Answer,
    Kind,
    ListSessions,
    NoSession,
    NotUnderstood,
    ParticipantInfo,
    Released,
    ReleaseSession,
    Request,
    SessionDetail,
    SessionInfo,
    SessionPage,
    ShowSession,
    encode,
    read_answer,
)
from msrp_worker.sip.reason import with_text
from tests.msrp_worker.controlling.focus_bench import FocusBench, focus, uri
from tests.msrp_worker.participating.bridge import Bridge, answered, described

LARGEST_PACKET = 200_000
"""Bytes that a SEQPACKET socket takes at once, by default."""


def ask(operating: Operating, request: Request) -> Answer:
    """The answer, through its bytes."""
    data = operating.answer(encode(request))
    assert len(data) < LARGEST_PACKET
    return read_answer(data)


def over(bench: FocusBench) -> Operating:
    """The operator of a focus."""
    return Operating(lambda after: map(FocusView, bench.function.sessions()))


def sole(answer: Answer) -> SessionInfo:
    """The one session of a list."""
    assert isinstance(answer, SessionPage)
    (one,) = answer.sessions
    return one


@pytest.mark.requirement("CNF-29", "CNF-30")
async def test_a_conference(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with focus() as bench:
        operating = over(bench)
        assert ask(operating, ListSessions()) == SessionPage((), False)
        asked = await bench.invite("alice", names=("bob", "carol"))
        await bench.respond(bench.sent("carol"), 180)
        await bench.accept("bob")
        await bench.ack(asked)
        one = sole(ask(operating, ListSessions()))
        assert (one.kind, one.participants, one.invited, one.messages) == (Kind.CONFERENCE, 2, 1, 0)
        assert (one.initiator, one.who) == (uri("alice"), (uri("alice"), uri("bob"), uri("carol")))
        detail = ask(operating, ShowSession(bench.session.identity))
        assert isinstance(detail, SessionDetail) and not detail.more
        assert [(seat.address, seat.status, seat.joined) for seat in detail.participants] == [
            (uri("alice"), "connected", "dialed-in"),
            (uri("bob"), "connected", "dialed-out"),
            (uri("carol"), "alerting", "dialed-out"),
        ]
        answer = ask(operating, ReleaseSession(one.identity, 'Maintenance "now"\r\nVia: x \\'))
        assert isinstance(answer, Released) and answer.session.participants == 2
        expected = 'SIP;cause=200;text="Maintenance \\"now\\"  Via: x \\\\"'
        assert ("Reason", expected) in bench.sent("bob", "BYE").headers
        assert bench.methods("alice") == ["BYE"]
        assert "CNF-29 conference session" in caplog.text
        assert ask(operating, ListSessions()) == SessionPage((), False)
        assert ask(operating, ReleaseSession(one.identity)) == NoSession()


@pytest.mark.requirement("CNF-29")
async def test_a_group_is_named_by_its_address() -> None:
    async with focus() as bench:
        group = f"sip:friends@{uri('x').partition('@')[2]}"
        members = (Member(uri("alice")), Member(uri("bob")))
        bench.groups.known[group] = Group(uri=group, members=members, invite_members=True)
        await bench.invite("alice", group)
        await bench.accept("bob")
        operating = over(bench)
        one = sole(ask(operating, ListSessions()))
        assert (one.kind, one.group) == (Kind.GROUP, group)
        assert isinstance(ask(operating, ShowSession(group.upper().replace("SIP:FRIENDS", "sip:friends"))), SessionDetail)
        assert isinstance(ask(operating, ReleaseSession(group)), Released)
        assert ("Reason", 'SIP;cause=200;text="Released by the operator"') in bench.sent("bob", "BYE").headers


@pytest.mark.requirement("IDN-04", "IDN-08")
async def test_anonymous_participants_are_named_on_request_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with focus() as bench:
        await bench.invite("alice", names=("bob",), anonymous=True)
        await bench.accept("bob")
        operating = over(bench)
        for request in (ListSessions(), ShowSession(bench.session.identity)):
            data = operating.answer(encode(request))
            assert b"alice" not in data
            assert data.count(b"anonymous.invalid") >= 2
        assert "IDN-04" not in caplog.text
        assert sole(ask(operating, ListSessions(reveal=True))).initiator == uri("alice")
        detail = ask(operating, ShowSession(bench.session.identity, reveal=True))
        assert isinstance(detail, SessionDetail)
        seat = detail.participants[0]
        assert seat.address == uri("alice")
        assert seat.shown_as.endswith("anonymous.invalid")
        assert caplog.text.count("IDN-04") == 2


@pytest.mark.requirement("PFS-09", "PFS-08")
async def test_a_session_through_the_participating_function() -> None:
    endpoint = MsrpEndpoint(EndpointConfig(port=0))
    await endpoint.start()
    try:
        bridge = Bridge(endpoint)
        operating = Operating(lambda after: [BridgeView(bridge.session)])
        await bridge.invite(described("alice"))
        one = sole(ask(operating, ListSessions()))
        assert (one.kind, one.participants, one.invited) == (Kind.ONE_TO_ONE, 0, 1)
        await bridge.callee.respond(200, answered("bob"))
        await bridge.caller.ack(cseq=1)
        one = sole(ask(operating, ListSessions()))
        assert (one.participants, one.invited) == (2, 0)
        assert one.who == ("sip:alice@example.com", "sip:bob@example.com")
        assert isinstance(ask(operating, ReleaseSession("im-leg-1")), Released)
        byes = bridge.port.requests()[-2:]
        for bye in byes:
            assert bye.method == "BYE"
            assert ("Reason", 'SIP;cause=200;text="Released by the operator"') in bye.headers
        assert len({bye.request_uri for bye in byes} | {str(bye.headers) for bye in byes}) > 2, "one for each side"
    finally:
        await endpoint.stop()


@pytest.mark.requirement("IDN-04")
async def test_an_anonymous_caller() -> None:
    endpoint = MsrpEndpoint(EndpointConfig(port=0))
    bridge = Bridge(endpoint)
    session = bridge.session
    session.originator, session.anonymous = "sip:alice@example.com", True
    view = BridgeView(session)
    assert view.info(reveal=False).who == ("anonymous", "sip:bob@example.com")
    assert view.info(reveal=True).initiator == "sip:alice@example.com"
    assert [seat.number for seat in view.participants(1, reveal=False)] == [2]


class Made:
    """A session that is a number."""

    def __init__(self, number: int, size: int = 1) -> None:
        self.number = number
        self.names = (f"sip:im-session-{number}@192.0.2.1:5060", f"im-session-{number}")
        self.size = size

    def info(self, *, reveal: bool) -> SessionInfo:
        return SessionInfo(
            number=self.number,
            identity=self.names[0],
            kind=Kind.GROUP,
            initiator="sip:alice@example.com",
            began=1.0,
            participants=self.size,
            invited=0,
            messages=0,
            idle=0,
            who=("x" * 1000,) * 8,
        )

    def participants(self, after: int, *, reveal: bool) -> Iterator[ParticipantInfo]:
        for number in range(after + 1, self.size + 1):
            yield ParticipantInfo(number=number, address="a" * 1000, shown_as="", name="", status="", joined="")

    def release(self, text: str) -> None:
        self.size = 0


@pytest.mark.requirement("SEC-05")
def test_thousands_of_sessions_come_in_pages() -> None:
    """In the order in which they began, each once, although sessions end and begin meanwhile."""
    first, second = [Made(number) for number in range(1, 3000, 2)], [Made(number) for number in range(2, 3000, 2)]
    operating = Operating(
        lambda after: [one for one in first if one.number > after],
        lambda after: [one for one in second if one.number > after],
    )
    seen: list[int] = []
    pages = 0
    while True:
        page = ask(operating, ListSessions(seen[-1] if seen else 0))
        assert isinstance(page, SessionPage)
        assert len(encode(page)) < 2 * PAGE_BYTES
        seen += [one.number for one in page.sessions]
        pages += 1
        if pages == 3:
            del first[0]
            second.pop()
        if not page.more:
            break
    assert pages > 100
    assert seen == sorted(set(seen))
    assert len(seen) == 2998


@pytest.mark.requirement("SEC-05")
def test_thousands_of_participants_come_in_pages() -> None:
    operating = Operating(lambda after: [Made(1, 2000)])
    seen: list[int] = []
    while True:
        page = ask(operating, ShowSession("im-session-1", seen[-1] if seen else 0))
        assert isinstance(page, SessionDetail)
        seen += [one.number for one in page.participants]
        if not page.more:
            break
    assert seen == list(range(1, 2001))


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff", b'{"type":"what"}', b'{"type":"show"}', b'{"type":"list","after":"x"}']
)
def test_what_is_no_request_is_answered_so(data: bytes) -> None:
    assert read_answer(Operating().answer(data)) == NotUnderstood()


@pytest.mark.parametrize("name", ["", "x", "sip:", "sip:im-session-9@192.0.2.1", "im-session", "\x00", "@"])
def test_an_unknown_session(name: str) -> None:
    operating = Operating(lambda after: [Made(1)])
    assert ask(operating, ShowSession(name)) == NoSession()
    assert ask(operating, ReleaseSession(name, "x" * 10 * LONGEST_REASON)) == NoSession()


@pytest.mark.parametrize(
    ("reason", "text", "value"),
    [
        ('SIP;cause=410;text="Gone"', "", 'SIP;cause=410;text="Gone"'),
        ('SIP;cause=410;text="Gone"', "Bye", 'SIP;cause=410;text="Bye"'),
        ("SIP;cause=200", 'a "b" \\', 'SIP;cause=200;text="a \\"b\\" \\\\"'),
        ('SIP;cause=200;text="x"', "Grüße", 'SIP;cause=200;text="Grüße"'),
    ],
)
def test_the_reason_is_a_quoted_string(reason: str, text: str, value: str) -> None:
    assert with_text(reason, text) == value
