"""Who may subscribe to what (7.2.2.10), and what becomes of it when a group changes (CES-01, CES-02)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kemi.messages import Incoming, SipRequest, TransactionId
from msrp_worker.config import Config
from msrp_worker.controlling.conference_notifier import ConferenceNotifier
from msrp_worker.controlling.participant_information import ParticipantInformation
from msrp_worker.controlling.refusal import Refused
from msrp_worker.controlling.session import FocusSession
from msrp_worker.functions import Functions
from msrp_worker.group import Group, Member
from msrp_worker.group_watch import GroupWatch
from msrp_worker.kamailio_link import KamailioLink
from msrp_worker.sip.message import Message
from msrp_worker.store import StoreUnavailable
from msrp_worker.store.groups import Groups
from tests.msrp_worker.controlling.sources import user
from tests.msrp_worker.controlling.test_conference_notifier import FIELDS, Answer, Link, respond
from tests.msrp_worker.sip.fakes import FakeStore
from tests.msrp_worker.sip.sip_text import request as sip_request

GROUP = "sip:friends@example.com"
SESSION = "sip:im-session-abc@example.com"
FRIENDS = Group(GROUP, members=(Member("sip:alice@example.com"), Member("sip:bob@example.com")))


@dataclass
class Store:
    """Groups."""

    found: Group | None = FRIENDS
    error: StoreUnavailable | None = None

    async def get(self, uri: str) -> Group | None:
        if self.error is not None:
            raise self.error
        return self.found if self.found is not None and self.found.uri == uri else None


@dataclass
class Focus:
    """One session at most, found by any of its addresses."""

    session: SimpleNamespace | None = None
    refused: list[Refused] = field(default_factory=list)

    def find(self, address: str) -> FocusSession | None:
        here = self.session is not None and address in (SESSION, self.session.entity)
        return cast(FocusSession, self.session) if here else None

    def refuse(self, transaction: TransactionId, request: Message, refused: Refused) -> None:
        self.refused.append(refused)


def session(group: Group | None = None) -> SimpleNamespace:
    """A session of alice, to which bob is admitted."""
    state = SimpleNamespace(everybody=frozenset({"sip:alice@example.com"}), admitted=frozenset({"sip:bob@example.com"}))
    return SimpleNamespace(
        entity=SESSION if group is None else group.uri,
        contact="<sip:im-session-abc@192.0.2.1>;isfocus",
        subject="",
        asserted="sip:conference-factory@example.com",
        maximum_users=0,
        users=lambda: [user("alice")],
        group=group,
        state=state,
    )


class Bench:
    """The handler of SUBSCRIBE with fakes around it."""

    def __init__(self, focus: Focus, store: Store) -> None:
        self.link, self.focus, self.store = Link(), focus, store
        self.functions = Functions(cast(KamailioLink, self.link), FakeStore(), "n1", itertools.count().__str__)
        self.notifier = ConferenceNotifier(self.functions, 1.0)
        self.watch = GroupWatch(cast(Groups, store), itertools.count().__next__)
        self.tasks: list[asyncio.Task[None]] = []
        self.information = ParticipantInformation(
            focus, self.functions, self.notifier, cast(Groups, store), self.watch, Config(), self._start
        )
        self.functions.register("controlling", self.information.take)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    async def subscribe(self, who: str, uri: str, event: str = "conference") -> Answer | Refused:
        number = len(self.link.answers) + len(self.focus.refused) + 1
        lines = {**dict(FIELDS), "Event": event}.items()
        data = sip_request("SUBSCRIBE", 1, call_id=f"c{number}", lines=lines)
        asked = SipRequest(
            f"c{number}", "SUBSCRIBE", 1, "a", f"sip:{who}@example.com", function="controlling", recipient=uri
        )
        self.functions._port._on_leg(Incoming((number, 1), asked, data))
        await asyncio.gather(*self.tasks)
        return self.link.answers.get((number, 1)) or self.focus.refused[-1]


@pytest.mark.requirement("CES-01", "CES-02", "CES-08")
@pytest.mark.parametrize(
    ("who", "uri", "event", "running", "status"),
    [
        ("alice", SESSION, "conference", session(), 200),
        ("bob", SESSION, "conference", session(), 200),
        ("eve", SESSION, "conference", session(), 403),
        ("alice", SESSION, "presence", session(), 489),
        ("alice", SESSION, "conference", None, 404),
        ("alice", "sip:other@example.com", "conference", session(), 404),
        ("bob", GROUP, "conference", None, 200),
        ("eve", GROUP, "conference", None, 403),
        ("bob", GROUP, "conference", session(FRIENDS), 200),
        ("bob", SESSION, "conference", session(FRIENDS), 200),
        ("eve", SESSION, "conference", session(FRIENDS), 403),
    ],
)
async def test_who_may_subscribe_to_what(
    who: str, uri: str, event: str, running: SimpleNamespace | None, status: int
) -> None:
    bench = Bench(Focus(running), Store())
    answer = await bench.subscribe(who, uri, event)
    assert answer.status == status
    assert len(bench.notifier) == (status == 200)
    if isinstance(answer, Answer) and status == 200:
        assert ("isfocus" in answer.headers) == (running is not None)


@pytest.mark.requirement("SEC-02")
async def test_the_store_is_away() -> None:
    bench = Bench(Focus(), Store(error=StoreUnavailable("away")))
    assert (await bench.subscribe("alice", GROUP)).status == 503


@pytest.mark.requirement("CES-02", "CES-07")
@pytest.mark.parametrize(
    ("new", "reasons"),
    [
        (None, ["noresource", "noresource"]),
        (Group(GROUP, members=(Member("sip:alice@example.com"),)), ["rejected"]),
        (Group(GROUP, members=FRIENDS.members, max_participants=9), []),
    ],
)
async def test_a_group_changes(new: Group | None, reasons: list[str]) -> None:
    bench = Bench(Focus(), Store())
    await bench.subscribe("alice", GROUP)
    await bench.subscribe("bob", GROUP)
    assert len(bench.watch) == 1, "one for both"
    while len(bench.link.sent) < 2:
        await asyncio.sleep(0.001)
    for sent in bench.link.sent:
        respond(bench.functions, sent)
    bench.store.found = new
    await bench.watch.look()
    bench.notifier.close()
    states = [sent.field("Subscription-State") for sent in bench.link.sent]
    assert [state.partition("reason=")[2] for state in states if "reason=" in state] == reasons


async def test_a_group_that_nobody_watches_any_more() -> None:
    bench = Bench(Focus(), Store())
    await bench.subscribe("alice", GROUP)
    assert (len(bench.watch), bench.notifier.has(GROUP)) == (1, True)
    bench.notifier.on_forgotten(GROUP)
    assert len(bench.watch) == 0
