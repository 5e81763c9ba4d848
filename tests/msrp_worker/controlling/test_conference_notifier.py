"""Subscriptions on the worker's side of the link: dialogs, turns, limits (CES-03, CES-06, CES-07, CES-08)."""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import dataclass, field
from typing import cast

import pytest

from im_client.conference_info import Conference, update
from kemi import messages
from kemi.messages import Incoming, SipEvent, SipRequest, TransactionId
from msrp_worker.controlling import conference_notifier
from msrp_worker.controlling.conference_notifier import MOST_OF_TICK, TICK_S, ConferenceNotifier
from msrp_worker.controlling.conference_roster import Roster
from msrp_worker.controlling.conference_state import UserStatus
from msrp_worker.functions import Functions
from msrp_worker.kamailio_link import KamailioLink
from msrp_worker.sip.message import Message
from tests.msrp_worker.controlling.sources import Source, roster, user
from tests.msrp_worker.controlling.virtual_time import run
from tests.msrp_worker.sip.fakes import FakeStore
from tests.msrp_worker.sip.sip_text import request as sip_request

INTERVAL = 1.0
FIELDS = (("Event", "conference;id=4"), ("Accept", "application/conference-info+xml"))


@dataclass
class Answer:
    """What a request of a client got."""

    status: int
    to_tag: str
    headers: str


@dataclass
class Notified:
    """One NOTIFY as it was given to Kamailio, at a time."""

    at: float
    headers: str
    body: bytes

    def field(self, name: str) -> str:
        found = re.search(rf"^{name}: (.*)\r$", self.headers, re.MULTILINE)
        return found[1] if found else ""

    @property
    def version(self) -> int:
        return int(re.findall(rb'version="([0-9]+)"', self.body)[0])


@dataclass
class Link:
    """Kamailio's place."""

    sent: list[Notified] = field(default_factory=list)
    answers: dict[TransactionId, Answer] = field(default_factory=dict)

    def send_request(self, command: messages.SendRequest, pin: int, *, initial: bool) -> bool:
        assert (command.method, initial) == ("NOTIFY", False)
        self.sent.append(Notified(asyncio.get_running_loop().time(), command.headers, command.body.encode()))
        return True

    def reply(
        self, transaction: TransactionId, status: int, reason: str, tag: str, headers: str = "", body: str = ""
    ) -> None:
        self.answers[transaction] = Answer(status, tag, headers)


def respond(functions: Functions, sent: Notified, status: int = 200) -> None:
    """A NOTIFY gets its response; 0: none comes."""
    tag = sent.field("From").partition(";tag=")[2]
    cseq = int(sent.field("CSeq").partition(" ")[0])
    kind: messages.SipEventKind = "response" if status else "timeout"
    event = SipEvent(sent.field("Call-ID"), kind, "NOTIFY", cseq, tag, "a")
    lines = "".join(f"{name}: {sent.field(name)}\r\n" for name in ("From", "To", "Call-ID", "CSeq"))
    data = f"SIP/2.0 {status} X\r\n{lines}Content-Length: 0\r\n\r\n".encode()
    functions._port._on_leg(Incoming(None, event, data if status else b""))


class Bench:
    """A notifier with one source, and clients that answer as the test says."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.link = Link()
        self.functions = Functions(cast(KamailioLink, self.link), FakeStore(), "n1", itertools.count().__str__)
        self.notifier = ConferenceNotifier(self.functions, interval)
        self.source = Source().add(user("alice"))
        self.functions.register("controlling", self._take)
        self.transactions = itertools.count(1)
        self.answered = 0

    def _take(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        self.notifier.subscribe(transaction, request, asked, self.source)

    def subscribe(self, call_id: str, cseq: int = 1, *, tag: str = "", who: str = "alice", **fields: str) -> Answer:
        """Send a SUBSCRIBE: its answer."""
        lines = {**dict(FIELDS), "Expires": "3600", **fields}
        data = sip_request("SUBSCRIBE", cseq, call_id=call_id, to_tag=tag, lines=lines.items())
        transaction: TransactionId = (next(self.transactions), 1)
        asked = SipRequest(call_id, "SUBSCRIBE", cseq, "a", f"sip:{who}@example.com", function="" if tag else "controlling")
        self.functions._port._on_leg(Incoming(transaction, asked, data))
        return self.link.answers[transaction]

    def respond_all(self, status: int = 200) -> list[Notified]:
        """All that were not answered yet; they."""
        new = self.link.sent[self.answered :]
        self.answered += len(new)
        for sent in new:
            respond(self.functions, sent, status)
        return new

    def change(self, name: str, status: UserStatus = UserStatus.CONNECTED) -> None:
        """Somebody came or left."""
        self.source.add(user(name, status))
        self.notifier.changed(self.source, f"sip:{name}@example.com")


async def moment(seconds: float = TICK_S) -> None:
    """Let it happen."""
    await asyncio.sleep(seconds)


@pytest.mark.requirement("CES-03")
def test_a_subscription_is_answered_and_told_the_whole() -> None:
    async def test() -> None:
        bench = Bench()
        answer = bench.subscribe("c1")
        assert answer.status == 200
        assert f"Contact: {bench.source.contact}\r\n" in answer.headers
        assert "P-Asserted-Identity: <sip:friends@example.com>\r\n" in answer.headers
        assert "Supported: norefersub\r\n" in answer.headers
        assert "Expires: 3600\r\n" in answer.headers
        await moment()
        (sent,) = bench.respond_all()
        assert sent.field("Event") == "conference;id=4"
        assert sent.field("Subscription-State") == "active;expires=3600"
        assert sent.field("Content-Type") == "application/conference-info+xml"
        assert sent.field("Contact") == bench.source.contact
        known = update(Conference(), sent.body)
        assert known is not None
        assert roster(known) == bench.source.shown()

    run(test())


@pytest.mark.requirement("CES-04", "CES-06")
def test_changes_within_the_interval_come_together() -> None:
    async def test() -> None:
        bench = Bench()
        bench.subscribe("c1")
        await moment()
        (first,) = bench.respond_all()
        for number in range(50):
            bench.change(f"u{number}", UserStatus.ALERTING)
            bench.change(f"u{number}")
            await moment(0.01)
        await moment(2 * INTERVAL)
        (second,) = bench.respond_all()
        assert second.at - first.at == pytest.approx(INTERVAL, abs=2 * TICK_S)
        known = update(Conference(), first.body)
        assert known is not None
        known = update(known, second.body)
        assert known is not None
        assert roster(known) == bench.source.shown()
        assert second.body.count(b"<user ") == 50
        assert bench.notifier.counters.merged == 99
        bench.change("late")
        await moment()
        assert len(bench.respond_all()) == 1, "after a quiet time a change is told at once"

    run(test())


@pytest.mark.requirement("CES-08")
def test_subscriptions_are_separate() -> None:
    async def test() -> None:
        bench = Bench()
        tag = bench.subscribe("c1").to_tag
        await moment()
        bench.respond_all()
        bench.subscribe("c2", who="bob")
        await moment(2)
        bench.respond_all()
        bench.change("bob")
        await moment(2)
        assert sorted((sent.field("Call-ID"), sent.version) for sent in bench.respond_all()) == [("c1", 2), ("c2", 2)]
        assert bench.subscribe("c1", 2, tag=tag).status == 200
        await moment()
        (full,) = bench.respond_all()
        assert (full.field("Call-ID"), full.version) == ("c1", 3)
        assert b'state="full" version' in full.body
        assert bench.subscribe("c1", 2, tag=tag).status == 500, "an old CSeq"
        assert bench.subscribe("c1", 3, tag=tag, Expires="0").status == 200
        await moment()
        (last,) = bench.respond_all()
        assert last.field("Subscription-State") == "terminated;reason=timeout"
        assert bench.subscribe("c1", 4, tag=tag).status == 481
        assert len(bench.notifier) == 1

    run(test())


@pytest.mark.requirement("CES-08")
@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"Event": "presence"}, 489, "Allow-Events: conference\r\n"),
        ({"Expires": "5"}, 423, "Min-Expires: 60\r\n"),
        ({"Accept": "application/pidf+xml"}, 406, "Accept: application/conference-info+xml\r\n"),
    ],
)
def test_refusals(fields: dict[str, str], status: int, said: str) -> None:
    async def test() -> None:
        bench = Bench()
        answer = bench.subscribe("c1", 1, **fields)
        assert answer.status == status
        assert said in answer.headers
        tag = bench.subscribe("c2").to_tag
        assert bench.subscribe("c2", 2, tag=tag, **fields).status == status
        assert len(bench.notifier) == 1

    run(test())


@pytest.mark.requirement("CES-08")
@pytest.mark.parametrize("status", [481, 408, 0])
def test_who_does_not_know_its_subscription_loses_it(status: int) -> None:
    async def test() -> None:
        bench = Bench()
        tag = bench.subscribe("c1").to_tag
        await moment()
        bench.respond_all(status)
        assert (len(bench.notifier), bench.notifier.counters.failed) == (0, 1)
        bench.change("bob")
        await moment(5)
        assert bench.respond_all() == []
        assert bench.subscribe("c1", 2, tag=tag).status == 481

    run(test())


@pytest.mark.requirement("CES-08")
def test_one_that_never_answers_and_one_that_expires_are_forgotten() -> None:
    async def test() -> None:
        bench = Bench()
        bench.subscribe("deaf")
        await moment(50)
        assert len(bench.notifier) == 0
        bench.answered = 1
        bench.subscribe("short", Expires="60")
        await moment()
        bench.respond_all()
        await moment(59)
        assert bench.respond_all() == []
        await moment(1)
        (last,) = bench.respond_all()
        assert last.field("Subscription-State") == "terminated;reason=timeout"
        assert len(bench.notifier) == 0
        assert not bench.functions.dialogs

    run(test())


@pytest.mark.requirement("CES-07")
def test_the_end_of_a_session_ends_its_subscriptions() -> None:
    async def test() -> None:
        bench = Bench()
        tag = bench.subscribe("c1").to_tag
        await moment()
        bench.respond_all()
        bench.source.present.clear()
        bench.notifier.ended(bench.source)
        assert bench.subscribe("c1", 2, tag=tag).status == 481, "not taken up again while the last NOTIFY waits"
        await moment()
        (last,) = bench.link.sent[1:]
        assert last.field("Subscription-State") == "terminated;reason=noresource"
        assert b"<active>false</active>" in last.body
        assert b'<user entity="sip:alice@example.com" state="full">' in last.body
        assert b"<status>disconnected</status>" in last.body
        assert bench.subscribe("c1", 3, tag=tag).status == 481
        bench.source.add(user("alice"))
        assert bench.subscribe("new").status == 200, "another session of the same group"
        bench.respond_all()
        await moment()
        assert b"<user-count>1</user-count><active>true</active>" in bench.respond_all()[0].body
        assert len(bench.notifier) == 1

    run(test())


@pytest.mark.requirement("CES-07")
def test_who_left_is_told_no_more() -> None:
    async def test() -> None:
        bench = Bench()
        bench.subscribe("c1", who="alice")
        bench.subscribe("c2", who="bob")
        await moment()
        bench.respond_all()
        bench.source.remove("alice")
        bench.notifier.dismiss(bench.source, "sip:alice@example.com")
        await moment(2)
        states = {sent.field("Call-ID"): sent.field("Subscription-State") for sent in bench.respond_all()}
        assert states["c1"] == "terminated;reason=noresource"
        assert states["c2"].startswith("active;")
        assert len(bench.notifier) == 1

    run(test())


@pytest.mark.requirement("CES-02")
def test_who_may_not_see_any_more_is_told_so_and_nothing_else() -> None:
    async def test() -> None:
        bench = Bench()
        bench.subscribe("c1", who="alice")
        bench.subscribe("c2", who="bob")
        await moment()
        bench.respond_all()
        gone: list[str] = []
        bench.notifier.on_forgotten = gone.append
        bench.change("carol")
        bench.notifier.revoke(bench.source.entity, lambda user: user == "sip:bob@example.com")
        await moment(2)
        told = {sent.field("Call-ID"): sent for sent in bench.respond_all()}
        assert told["c1"].field("Subscription-State") == "terminated;reason=rejected"
        assert (told["c1"].body, told["c1"].field("Content-Type")) == (b"", "")
        assert b"carol" in told["c2"].body
        assert (len(bench.notifier), bench.notifier.has(bench.source.entity), gone) == (1, True, [])
        bench.notifier.revoke(bench.source.entity, lambda user: False)
        await moment(2)
        bench.respond_all()
        assert (len(bench.notifier), bench.notifier.has(bench.source.entity), gone) == (0, False, [bench.source.entity])

    run(test())


@pytest.mark.requirement("CES-06")
def test_a_round_is_paced_and_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        bench = Bench()
        count = 10 * MOST_OF_TICK
        for number in range(count):
            assert bench.subscribe(f"c{number}", who=f"u{number}").status == 200
        await moment(1)
        assert len(bench.respond_all()) == count
        rendered = 0
        render = Roster._render

        def counted(*args: object) -> object:
            nonlocal rendered
            rendered += 1
            return render(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(Roster, "_render", counted)
        await moment(1)
        began = asyncio.get_running_loop().time()
        bench.change("bob")
        await moment(2 * TICK_S)
        assert len(bench.respond_all()) <= 3 * MOST_OF_TICK
        await moment(1)
        bench.respond_all()
        assert len(bench.link.sent) == 2 * count
        assert rendered == 1
        assert bench.link.sent[-1].at - began == pytest.approx(9 * TICK_S, abs=TICK_S)

    run(test())


@pytest.mark.requirement("CES-02")
def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(conference_notifier, "MOST_OF_USER", 2)
        monkeypatch.setattr(conference_notifier, "MOST_OF_SESSION", 3)
        bench = Bench()
        assert [bench.subscribe(f"a{number}").status for number in range(3)] == [200, 200, 503]
        assert [bench.subscribe(f"b{number}", who="bob").status for number in range(2)] == [200, 503]
        monkeypatch.setattr(conference_notifier, "MOST", 3)
        bench.source.entity = "sip:other@example.com"
        answer = bench.subscribe("c", who="carol")
        assert (answer.status, "Retry-After: 60\r\n" in answer.headers) == (503, True)
        assert bench.notifier.counters.refused == 3

    run(test())


@pytest.mark.requirement("CES-08")
def test_a_subscriber_without_a_contact_is_refused() -> None:
    async def test() -> None:
        bench = Bench()
        data = sip_request("SUBSCRIBE", 1, call_id="c", lines=FIELDS, contact="")
        asked = SipRequest("c", "SUBSCRIBE", 1, "a", "sip:alice@example.com", function="controlling")
        bench.functions._port._on_leg(Incoming((1, 1), asked, data))
        assert bench.link.answers[1, 1].status == 400
        assert len(bench.notifier) == 0

    run(test())


@pytest.mark.requirement("CES-07")
def test_a_worker_that_stops_tells_the_end_at_once() -> None:
    async def test() -> None:
        bench = Bench()
        for number in range(3 * MOST_OF_TICK):
            bench.subscribe(f"c{number}", who=f"u{number}")
        await moment(1)
        bench.respond_all()
        bench.notifier.ended(bench.source)
        bench.notifier.close()
        states = {sent.field("Subscription-State") for sent in bench.respond_all()}
        assert states == {"terminated;reason=noresource"}
        names = {one.name: one.value for one in bench.notifier.readings()}
        assert names["conference_notifies_total"] == 6 * MOST_OF_TICK
        assert names["conference_subscriptions"] == names["conference_notifies_waiting"] == 0

    run(test())
