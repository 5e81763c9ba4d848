"""Whatever happens and gets lost: who applies the documents ends with the roster of the session (CES-04, CES-06)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im_client.conference_info import Conference, update
from msrp_worker.controlling import conference_subscription as subscription
from msrp_worker.controlling.conference_roster import Roster
from msrp_worker.controlling.conference_state import UserStatus
from tests.msrp_worker.controlling.sources import Source, anonymous, roster, user

NAMES = ("alice", "bob", "carol", "dave", "erin")
INTERVAL = 2.0
ROOM = 450
"""Bytes of users in a document: two or three of them."""


class Client:
    """One subscriber at the end of a wire that may break."""

    def __init__(self, source: Source, known: Roster) -> None:
        self.source, self.roster = source, known
        self.state = subscription.Subscription()
        self.conference = Conference()
        self.out: bytes | None = None
        self.value = ""
        self.versions: list[int] = []
        self.tell(subscription.Asked(1_000_000), 0)

    def tell(self, event: subscription.Event, now: float) -> None:
        self.state, effects = subscription.step(self.state, event, now)
        for effect in effects:
            if isinstance(effect, subscription.Notify):
                assert self.out is None, "one NOTIFY at a time"
                told = self.roster.since(effect.told, effect.base)
                self.state = subscription.sent(self.state, told.upto, told.base, more=told.more)
                self.out, self.value = told.document.at(effect.version), effect.state
                self.versions.append(effect.version)

    def is_busy(self) -> bool:
        """Whether something is out or due."""
        return self.out is not None or self.state.queued or self.state.next_deadline() < 1_000_000

    def turn(self, now: float) -> None:
        """Do what is due."""
        if self.state.next_deadline() <= now:
            self.tell(subscription.Tick(), now)
        if self.state.queued:
            self.roster.refresh(self.source)
            self.tell(subscription.Turn(self.roster.latest, INTERVAL), now)

    def answer(self, now: float, *, arrives: bool, status: int) -> None:
        """The NOTIFY arrives or not, and its sender hears so or not."""
        if self.out is None:
            return
        if arrives:
            applied = update(self.conference, self.out)
            assert applied is not None, "a document before it is missing"
            self.conference = applied
        self.out = None
        self.tell(subscription.Notified(status), now)


user_of = st.builds(
    lambda name, status, text, number: (
        anonymous(name, number, display_text=text) if number else user(name, status, display_text=text)
    ),
    st.sampled_from(NAMES),
    st.sampled_from(UserStatus),
    st.sampled_from(("", "One", "<Two>")),
    st.sampled_from((0, 0, 0, 1, 2)),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), user_of),
        st.tuples(st.just("remove"), st.sampled_from(NAMES)),
        st.tuples(st.just("subject"), st.sampled_from(("Lunch", "Dinner"))),
        st.tuples(st.just("ok"), st.none()),
        st.tuples(st.just("lost"), st.sampled_from((500, 503))),
        st.tuples(st.just("ambiguous"), st.sampled_from((500, 503))),
        st.tuples(st.just("refresh"), st.none()),
        st.tuples(st.just("pass"), st.sampled_from((0.5, 2.0, 9.0))),
        st.tuples(st.just("newcomer"), st.none()),
    ),
    max_size=40,
)


@pytest.mark.requirement("CES-04", "CES-06")
@settings(max_examples=300, deadline=None)
@given(steps, st.booleans())
def test_the_roster_of_a_subscriber_is_that_of_the_session(events: list[tuple[str, object]], ends: bool) -> None:
    source, now = Source().add(user("alice")), 0.0
    known = Roster(source, room=ROOM, most_gone=3)
    clients = [Client(source, known)]
    for what, value in events:
        match what, value:
            case "put", found:
                _put(source, found)
            case "remove", str(name):
                source.remove(name)
            case "subject", str(text):
                source.subject = text
            case "pass", float(seconds):
                now += seconds
            case "newcomer", _ if len(clients) < 4:
                clients.append(Client(source, known))
        for client in clients if what != "newcomer" else ():
            _happens(client, what, value, now)
        for client in clients:
            client.turn(now)
    if ends:
        known.refresh(source)
        known.end(source)
        for client in clients:
            client.tell(subscription.Closed(), now)
    while any(client.is_busy() for client in clients):
        for client in clients:
            client.turn(now)
            client.answer(now, arrives=True, status=200)
        now += 1
        assert now < 1000, "it does not come to rest"
    for client in clients:
        if not ends and not client.state.over:
            assert roster(client.conference) == source.shown()
            assert client.conference.subject == source.subject
        if ends and client.state.final:
            assert (client.conference.present, client.value) == ([], "terminated;reason=noresource")
            assert not client.conference.active
        assert client.versions == list(range(1, len(client.versions) + 1))


def _put(source: Source, found: object) -> None:
    entities = {one.entity for one in source.users() if one.key != found.key}  # type: ignore[attr-defined]
    if found.entity not in entities:  # type: ignore[attr-defined]
        source.add(found)  # type: ignore[arg-type]


def _happens(client: Client, what: str, value: object, now: float) -> None:
    match what:
        case "put" | "remove" | "subject":
            client.tell(subscription.Changed(), now)
        case "ok":
            client.answer(now, arrives=True, status=200)
        case "lost":
            client.answer(now, arrives=False, status=int(str(value)))
        case "ambiguous":
            client.answer(now, arrives=True, status=int(str(value)))
        case "refresh":
            client.tell(subscription.Asked(1_000_000), now)
