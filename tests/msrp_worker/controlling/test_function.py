"""The focus from INVITE to BYE on a fake port: what the wire shows too, and what it can hardly show."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from msrp_worker.controlling.release_policy import Why
from msrp_worker.controlling.session_events import Connected
from msrp_worker.group import Group, Member
from msrp_worker.sip.leg_types import LegEvent, LegId
from msrp_worker.sip.port import CancelInvite
from msrp_worker.uri_list import Recipient
from tests.msrp_worker.controlling.focus_bench import ANSWER, DOMAIN, focus, sdp, uri
from tests.msrp_worker.sip.legs import INVITATION
from tests.msrp_worker.sip.sip_text import header

FRIENDS = f"sip:friends@{DOMAIN}"
GROUP = Group(FRIENDS, "Friends", tuple(Member(uri(name)) for name in ("alice", "bob", "carol")), invite_members=True)


@pytest.mark.requirement("CNF-07", "CNF-09", "CNF-27", "HDR-03", "HDR-05")
async def test_the_life_of_a_session() -> None:
    async with focus() as bench:
        asked = await bench.invite("alice", names=("bob", "carol"))
        await bench.respond(bench.sent("carol"), 180)
        await bench.respond(bench.sent("bob"), 180)
        await bench.accept("bob")
        assert bench.statuses(asked) == [180, 200]
        for reply in bench.replies(asked):
            assert header(reply, "Contact") == bench.session.contact
            assert header(reply, "P-Asserted-Identity") == f"<sip:conference-factory@{DOMAIN}>"
        await bench.ack(asked)
        (session,) = bench.function.sessions()
        state = session.state
        assert (state.kind, state.participants, state.pending) == ("ad-hoc", {uri("alice"), uri("bob")}, 1)
        await bench.bye(asked)
        assert bench.methods("bob") == ["INVITE", "BYE"]
        assert any(isinstance(one, CancelInvite) for one in bench.port.sent), "Carol still rang"
        assert not bench.function.sessions()
        await bench.respond(bench.sent("bob", "BYE"), 200)
        await bench.respond(bench.sent("carol"), 487)
        assert len(bench.functions.legs) == 0


@pytest.mark.requirement("CNF-28")
async def test_a_dead_client_is_removed() -> None:
    """No refresh of who comes in: BYE before the interval is over; the session ends with its initiator."""
    async with focus() as bench:
        asked = await bench.invite("alice", names=("bob", "carol"), lines=(("Session-Expires", "90;refresher=uac"),))
        await bench.accept("bob")
        await bench.accept("carol")
        await bench.ack(asked)
        for number in bench.session.state.seats:
            bench.session.tell(Connected(number))
        assert header(bench.replies(asked)[-1], "Session-Expires") == "90;refresher=uac"
        await bench.tick(61)
        assert "408" in header(bench.sent("alice", "BYE"), "Reason")
        assert {"BYE"} <= set(bench.methods("bob")) & set(bench.methods("carol"))


@pytest.mark.requirement("CNF-08")
async def test_nobody_connects() -> None:
    """200 of all, no MSRP connection of anybody: released after a while."""
    async with focus() as bench:
        asked = await bench.invite("alice", names=("bob",))
        await bench.accept("bob")
        await bench.ack(asked)
        await bench.tick(46)
        assert "503" in header(bench.sent("alice", "BYE"), "Reason")
        assert not bench.function.sessions()


@pytest.mark.requirement("CNF-08")
@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 502), (b"v=0\r\nnonsense", 488), (sdp("active", types="text/plain", wrapped="text/plain"), 488)],
)
async def test_answers_that_cannot_be_used(body: bytes, status: int) -> None:
    """The initiator gets a failure, the one who answered a BYE."""
    async with focus() as bench:
        asked = await bench.invite("alice", names=("bob",))
        await bench.accept("bob", body)
        assert bench.statuses(asked) == [status]
        assert bench.methods("bob") == ["INVITE", "BYE"]
        assert not bench.function.sessions()


@pytest.mark.requirement("CNF-30")
async def test_the_initiator_cancels_while_an_answer_arrives() -> None:
    """CANCEL first, then the 200 of Bob: it gets its BYE, and nobody is left."""
    async with focus() as bench:
        asked = await bench.invite("alice", names=("bob",))
        invite = bench.sent("bob")
        await bench.cancel(asked)
        assert not bench.function.sessions()
        await bench.respond(invite, 200, ANSWER)
        assert bench.methods("bob") == ["INVITE", "BYE"]
        await bench.respond(bench.sent("bob", "BYE"), 200)
        assert len(bench.functions.legs) == 0


@pytest.mark.requirement("CNF-30")
async def test_the_initiator_cancels_after_the_200() -> None:
    """The 200 was first: the ACK that follows shows it, and the BYE ends the leg; Bob is released at once."""
    async with focus() as bench:
        asked = await bench.invite("alice", names=("bob",))
        await bench.accept("bob")
        await bench.cancel(asked)
        assert bench.methods("bob") == ["INVITE", "BYE"]
        assert not bench.function.sessions()


@pytest.mark.requirement("SEC-02")
async def test_no_room_for_more_legs() -> None:
    """The invitations that do not fit fail with 503; who asked hears it when none fits."""
    async with focus(max_legs=1) as bench:
        asked = await bench.invite("alice", names=("bob", "carol"))
        assert bench.statuses(asked) == [503]
        assert not bench.port.requests()
        assert not bench.function.sessions()


@pytest.mark.requirement("CNF-17", "CNF-18")
async def test_two_begin_the_same_group() -> None:
    """Whatever the store takes meanwhile: one session, and nobody waits."""
    async with focus() as bench:
        bench.groups.known[FRIENDS] = GROUP
        first = await bench.invite("alice", FRIENDS)
        second = await bench.invite("bob", FRIENDS)
        assert bench.statuses(first) == bench.statuses(second) == [200]
        assert len(bench.function.sessions()) == 1
        assert any(isinstance(one, CancelInvite) for one in bench.port.sent) or bench.methods("bob") == ["INVITE"]
        assert bench.session.state.participants == {uri("alice"), uri("bob")}
        assert header(bench.replies(second)[0], "P-Asserted-Identity") == f"<{FRIENDS}>"


@pytest.mark.requirement("CNF-29", "XDM-07")
async def test_a_group_is_changed_and_deleted() -> None:
    async with focus() as bench:
        bench.groups.known[FRIENDS] = GROUP
        await bench.invite("alice", FRIENDS)
        await bench.accept("bob")
        await bench.accept("carol")
        session = bench.session
        session.regroup(Group(FRIENDS, members=tuple(Member(uri(name)) for name in ("alice", "carol"))))
        await bench.settle()
        assert "403" in header(bench.sent("bob", "BYE"), "Reason")
        bench.function._regrouped(FRIENDS, GROUP, Group(FRIENDS, members=GROUP.members, max_participants=2))
        bench.groups.known[FRIENDS] = GROUP
        assert bench.statuses(await bench.invite("bob", FRIENDS)) == [486]  # CNF-16: as the document says now
        session.regroup(None)
        await bench.settle()
        assert "404" in header(bench.sent("carol", "BYE"), "Reason")
        assert session.state.over is Why.GROUP_DELETED


@pytest.mark.requirement("CNF-21")
async def test_adding_and_removing() -> None:
    """The seams for REFER: who is added is called in the name of who asked, with progress; who is removed gets BYE."""
    async with focus(adhoc_max_participants=3) as bench:
        await bench.invite("alice", names=("bob",))
        await bench.accept("bob")
        session = bench.session
        told: list[int] = []
        by = next(place.by for place in session._places.values() if place.by is not None)
        assert session.can_add([uri("carol")]) and not session.can_add([uri("carol"), uri("dave")])
        session.invite(
            [Recipient(uri("carol"), uri("carol"))], by, lambda place, status, reason, warning="": told.append(status)
        )
        await bench.settle()
        await bench.respond(bench.sent("carol"), 180)
        await bench.accept("carol")
        assert told == [180, 200]
        assert [(user.key, user.status.value) for user in session.users()] == [
            (uri(name), "connected") for name in ("alice", "bob", "carol")
        ]
        assert session.remove(uri("carol")) and not session.remove(uri("nobody"))
        await bench.settle()
        assert bench.methods("carol") == ["INVITE", "BYE"]


@pytest.mark.requirement("IDN-04", "IDN-08", "CES-05")
async def test_what_the_roster_says_of_who_hides() -> None:
    async with focus() as bench:
        await bench.invite("alice", names=("bob", "carol"), anonymous=True, lines=(("Privacy", "id"),))
        await bench.accept("bob", lines=(("Privacy", "id"),))
        shown = {user.key: user for user in bench.session.users()}
        for key in (uri("alice"), uri("bob")):
            assert shown[key].entity.endswith("@anonymous.invalid")
            assert shown[key].endpoint == shown[key].entity
            assert shown[key].display_text == "Anonymous"
        assert shown[uri("alice")].entity != shown[uri("bob")].entity
        assert shown[uri("carol")].entity == uri("carol")


@pytest.mark.requirement("IDN-07")
@pytest.mark.parametrize(("answers", "statuses"), [("ignore", [200]), ("release", [403])])
async def test_who_may_not_hide(answers: str, statuses: list[int]) -> None:
    """The 200 of who is invited asks for privacy where there is none: ignored, or refused and released."""
    async with focus(anonymity="refuse", anonymous_answers=answers) as bench:
        asked = await bench.invite("alice", names=("bob",))
        await bench.accept("bob", lines=(("Privacy", "id"),))
        assert bench.statuses(asked) == statuses
        if statuses == [403]:
            assert "403" in header(bench.sent("bob", "BYE"), "Reason")
            return
        assert {user.key: user.entity for user in bench.session.users()}[uri("bob")] == uri("bob")


@pytest.mark.requirement("CNF-20", "CNF-16", "CNF-15")
async def test_coming_by_the_identity() -> None:
    async with focus() as bench:
        asked = await bench.invite("alice", names=("bob",))
        await bench.accept("bob")
        await bench.ack(asked)
        identity = bench.session.address.uri
        assert bench.statuses(await bench.invite("bob", identity)) == [200]
        assert bench.statuses(await bench.invite("carol", identity)) == [403]
        bench.session.release(Why.OPERATOR)
        assert bench.statuses(await bench.invite("bob", identity)) == [404]


@pytest.mark.requirement("CNF-02", "CNF-04")
@pytest.mark.parametrize(
    ("sender", "body", "statuses"),
    [("Stranger", None, [403]), ("alice", b"v=0", [400]), ("alice", sdp(types="a/b"), [488])],
)
async def test_refusals(sender: str, body: bytes | None, statuses: list[int]) -> None:
    """Nothing is left of a session that did not begin."""
    async with focus() as bench:
        assert bench.statuses(await bench.invite(sender, names=("bob",), body=body)) == statuses
        assert not bench.port.requests() and not bench.function.sessions() and len(bench.functions.legs) == 0


@pytest.mark.requirement("CNF-04", "CNF-07")
async def test_an_invite_without_an_offer() -> None:
    """The focus offers in its 200; the ACK has the answer, and the participant is in the room."""
    async with focus() as bench:
        bench.groups.known[FRIENDS] = Group(FRIENDS, members=GROUP.members)
        asked = await bench.invite("alice", FRIENDS, body=b"")
        (reply,) = bench.replies(asked)
        assert reply.status == 200 and b"a=accept-types:message/cpim" in reply.body and b"a=setup:actpass" in reply.body
        await bench.ack(asked, ANSWER)
        assert [one.address.uri for one in bench.session.room.switch.participants] == [uri("alice")]


@pytest.mark.requirement("IDN-08")
async def test_one_name_for_who_hides() -> None:
    """Whoever comes back, or comes with a second client, has the same URI for the others."""
    async with focus() as bench:
        await bench.invite("alice", names=("bob",), anonymous=True)
        await bench.accept("bob")
        identity = bench.session.address.uri
        before = bench.session.users()[0].entity
        await bench.invite("alice", identity, anonymous=True)
        assert {place.entity for place in bench.session._places.values() if place.key == uri("alice")} == {before}


@pytest.mark.requirement("CNF-11")
@pytest.mark.parametrize("status", [420, 481])
async def test_who_has_nothing_to_replace(status: int) -> None:
    """Called once more without the header; a second refusal is its last word."""
    async with focus() as bench:
        lines = (("Replaces", "other@call;to-tag=theirs;from-tag=ours"),)
        asked = await bench.invite("alice", names=("bob",), lines=lines)
        first = bench.sent("bob")
        assert header(first, "Replaces") == lines[0][1]
        await bench.respond(first, status)
        again = bench.sent("bob")
        assert again is not first and not header(again, "Replaces")
        await bench.respond(again, 481)
        assert bench.statuses(asked) == [481]
        assert bench.methods("bob") == ["INVITE", "INVITE"]


class Bridge:
    """Owner of two legs that are one session."""

    kind = "bridge"
    identity = "1"

    def __init__(self) -> None:
        self.legs: list[LegId] = []

    def on_leg_event(self, leg_id: LegId, event: LegEvent) -> None:
        """Nothing is done about it."""

    def across(self, leg_id: LegId) -> LegId | None:
        return next(one for one in self.legs if one != leg_id)


@pytest.mark.requirement("CNF-11")
async def test_a_session_through_the_server_is_replaced() -> None:
    """The header names our leg towards Alice; Bob, and nobody else, hears of the dialog that he knows."""
    async with focus() as bench:
        bridge = Bridge()
        for number, name in enumerate(("alice", "bob")):
            invitation = replace(INVITATION, to_uri=uri(name), request_uri=uri(name), next_hop="")
            bridge.legs.append(bench.functions.legs.call(invitation, bridge))
            await bench.settle()
            await bench.respond(bench.sent(name), 200, ANSWER, tag=f"peer{number}")
        (call_a, tag_a), (call_b, tag_b) = bridge.legs
        lines = (("Replaces", f"{call_a};to-tag={tag_a};from-tag=peer0"),)
        await bench.invite("alice", names=("bob", "carol"), lines=lines)
        assert header(bench.sent("bob"), "Replaces") == f"{call_b};to-tag=peer1;from-tag={tag_b}"
        assert not header(bench.sent("carol"), "Replaces")
        wrong = (("Replaces", f"{call_a};to-tag={tag_a};from-tag=stranger"),)
        assert bench.statuses(await bench.invite("alice", names=("bob",), lines=wrong)) == [481]


@pytest.mark.requirement("CNF-26", "SEC-06")
async def test_the_worker_stops() -> None:
    """Everybody gets a BYE that says so."""
    async with focus() as bench:
        await bench.invite("alice", names=("bob",))
        await bench.accept("bob")
        await bench.function.close()
        await bench.settle()
        assert "503" in header(bench.sent("bob", "BYE"), "Reason")
