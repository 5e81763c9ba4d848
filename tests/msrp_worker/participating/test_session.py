"""The two legs of a bridged session: what of one side's messages the other one gets, and what never passes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from msrp_worker.participating import relay
from msrp_worker.participating.foci import KEEP_S, MAX_KEPT, Foci
from msrp_worker.sip.message import name_of, read
from msrp_worker.sip.port import CancelInvite
from tests.msrp_worker.participating.bridge import FIRST, Bridge, answered, bridge, described
from tests.msrp_worker.sip.sip_text import header, on_the_wire, request

PRIVATE = (("Supported", "timer"), ("Privacy", "id"))
FOCUS = "<sip:room1@focus.example.org;transport=tcp>;isfocus;+g.oma.sip-im"


@pytest.fixture
async def made() -> AsyncIterator[Bridge]:
    async with bridge() as one:
        yield one


@pytest.mark.requirement("PFS-11", "HDR-02", "HDR-04", "HDR-07")
async def test_headers_of_the_invite(made: Bridge) -> None:
    await made.invite(described("alice"), (("Subject", "hi"), ("X-Secret", "1"), ("P-Asserted-Identity", "<sip:x@x.x>")))
    (invite,) = made.port.requests()
    assert invite.request_uri == "sip:bob@example.com"
    assert header(invite, "Accept-Contact") == "*;+g.oma.sip-im;explicit"
    assert header(invite, "Session-Expires") == "1800;refresher=uas"
    assert "timer" in header(invite, "Supported")
    assert {"INVITE", "UPDATE", "PRACK", "REFER", "SUBSCRIBE"} <= set(header(invite, "Allow").split(", "))
    assert header(invite, "P-Asserted-Identity") == "<sip:alice@example.com>"
    assert header(invite, "Contact") == "<sip:im-leg-1@192.0.2.9:5060>;+g.oma.sip-im"
    assert header(invite, "From").startswith('"Alice" <sip:alice@example.com>')
    assert header(invite, "Subject") == "hi"
    assert header(invite, "X-Secret") == ""


@pytest.mark.requirement("PFS-02", "PFS-11")
async def test_what_the_caller_says_of_its_message_goes_on(made: Bridge) -> None:
    """To whom to reply, and of which chat of an RCS client it is; a display name with a URI in it stays one name."""
    told = (("Reply-To", "<sip:office@example.com>"), ("In-Reply-To", "call-0"), ("Contribution-ID", "c1"))
    told = (*told, ("Conversation-ID", "v1"), ("InReplyTo-Contribution-ID", "c0"))
    name = '"<sip:alice@example.com>"'
    await made.invite(described("alice"), (("From", f"{name} <sip:alice@example.com>;tag=a"), *told))
    (invite,) = made.port.requests()
    assert [header(invite, key) for key, _ in told] == [value for _, value in told]
    assert header(invite, "From").startswith(f"{name} <sip:alice@example.com>;tag=")


@pytest.mark.requirement("PFS-05", "SEC-05")
async def test_a_warning_ends_where_it_should(made: Bridge) -> None:
    """Whatever the offer that it speaks of has in it."""
    await made.invite(described('al"ice'))
    (reply,) = (one for one in made.port.replies() if one.transaction == FIRST)
    assert reply.status == 488
    warning = dict(reply.headers)["Warning"]
    assert re.fullmatch(r'399 example\.com "(?:[^"\\]|\\.)*"', warning) and "al" in warning


@pytest.mark.requirement("IDN-04", "PFS-11")
async def test_nothing_of_the_caller_in_the_media(made: Bridge) -> None:
    """No address, no user name, no path of the caller leaves in the description; Privacy passes."""
    await made.invite(described("alice", more="i=Alice\r\n").replace(b"s=-", b"s=Alice's chat"), PRIVATE)
    (invite,) = made.port.requests()
    assert header(invite, "Privacy") == "id"
    for trace in (b"198.51.100.7", b"alice", b"Alice's"):
        assert trace not in invite.body


@pytest.mark.requirement("PFS-12", "IDN-04", "HDR-07")
@pytest.mark.parametrize(("privacy", "passes"), [("none", True), ("id", False), ("header;id", False)])
async def test_identity_in_responses(made: Bridge, privacy: str, *, passes: bool) -> None:
    await made.invite(described("alice"))
    who = (("P-Asserted-Identity", "<sip:bob@example.com>"), ("Privacy", privacy))
    await made.callee.respond(180, lines=who)
    await made.callee.respond(200, answered("bob"), who)
    ringing, ok = (one for one in made.port.replies() if one.transaction == FIRST)
    for reply in (ringing, ok):
        assert header(reply, "P-Asserted-Identity") == ("<sip:bob@example.com>" if passes else "")
        assert header(reply, "Privacy") == privacy
        assert "+g.oma.sip-im" in header(reply, "Contact")
        assert "UPDATE" in header(reply, "Allow")
    assert header(ok, "Require") == "timer"
    assert header(ok, "Session-Expires") == "1800;refresher=uas"
    assert b"198.51.100.7" not in ok.body


@pytest.mark.requirement("PFS-15")
async def test_reliable_on_both_legs(made: Bridge) -> None:
    """The callee's reliable 180 is acknowledged, and goes on reliably to a caller that can take it."""
    await made.invite(described("alice"), (("Supported", "timer, 100rel"),))
    invite = made.callee.asked()
    await made.callee.respond(180, lines=(("Require", "100rel"), ("RSeq", "7")))
    assert header(made.callee.asked(), "RAck") == "7 1 INVITE"
    ringing = made.replied(FIRST)
    assert header(ringing, "Require") == "100rel"
    prack = await made.caller.send("PRACK", lines=(("RAck", f"{header(ringing, 'RSeq')} 1 INVITE"),))
    assert made.replied(prack).status == 200
    await made.callee.respond(200, answered("bob"), sent=invite)
    assert made.replied(FIRST).status == 200


@pytest.mark.requirement("PFS-15")
async def test_reliable_on_one_leg_alone(made: Bridge) -> None:
    await made.invite(described("alice"))
    await made.callee.respond(180, lines=(("Require", "100rel"), ("RSeq", "7")))
    assert header(made.replied(FIRST), "Require") == ""


@pytest.mark.requirement("PFS-08")
async def test_cancel_crosses_the_200(made: Bridge) -> None:
    """The callee has answered when the caller gives up: it gets a BYE, and nothing stays."""
    await made.invite(described("alice"))
    await made.callee.respond(180)
    await made.caller.cancel(FIRST)
    assert [one for one in made.port.sent if isinstance(one, CancelInvite)]
    invite = made.port.requests()[0]
    call_id = read(on_the_wire(invite)).call_id
    made.session._ids.setdefault(made.callee.end, (call_id, header(invite, "From").rpartition("tag=")[2]))
    await made.callee.respond(200, answered("bob"), sent=invite)
    assert made.port.requests()[-1].method == "BYE"
    assert made.ended == [made.session]
    assert len(made.endpoint.registry) == 0


@pytest.mark.requirement("PFS-04")
@pytest.mark.parametrize("status", [302, 403, 415, 486, 603])
async def test_failures_come_back(made: Bridge, status: int) -> None:
    await made.invite(described("alice"))
    lines = (("Warning", '399 b "no"'), ("Accept", "text/plain"), ("Server", "secret"))
    await made.callee.respond(status, lines=lines, contact="<sip:other@example.com>")
    reply = made.replied(FIRST)
    assert (reply.status, header(reply, "Warning"), header(reply, "Accept")) == (status, '399 b "no"', "text/plain")
    assert header(reply, "Server") == ""
    assert header(reply, "Contact") == ("<sip:other@example.com>" if status == 302 else "")
    assert len(made.endpoint.registry) == 0


@pytest.mark.requirement("PFS-11", "PFS-06")
async def test_a_focus_that_answers_shows_as_one(made: Bridge) -> None:
    await made.invite(described("alice"))
    await made.callee.respond(200, answered("bob"), contact=FOCUS)
    assert header(made.replied(FIRST), "Contact").endswith(";isfocus")
    assert made.session.focus == "sip:room1@focus.example.org;transport=tcp"


@pytest.mark.requirement("PFS-11", "PFS-06", "HDR-03")
async def test_a_focus_that_invites_shows_as_one(made: Bridge) -> None:
    await made.invite(described("room"), contact=FOCUS)
    assert header(made.callee.asked(), "Contact").endswith(";isfocus")
    await made.callee.respond(200, answered("bob"))
    assert "isfocus" not in header(made.replied(FIRST), "Contact")
    assert made.session.focus == "sip:room1@focus.example.org;transport=tcp"


@pytest.mark.requirement("PFS-11")
async def test_a_side_that_becomes_a_focus(made: Bridge) -> None:
    """By a re-INVITE (RFC 4579 section 5): the other side sees it in ours."""
    await made.stand()
    await made.callee.send("INVITE", described("bob", "sendonly", version=2), contact=FOCUS)
    assert header(made.caller.asked(), "Contact").endswith(";isfocus")


@pytest.mark.requirement("PFS-06")
async def test_subscribe_within_the_session(made: Bridge) -> None:
    """SUBSCRIBE goes on, its response comes back with our Contact; NOTIFY takes the other direction."""
    await made.stand(contact=FOCUS)
    wishes = (("Event", "conference"), ("Expires", "600"), ("Accept", "application/conference-info+xml"))
    asked = await made.caller.send("SUBSCRIBE", lines=(*wishes, ("P-Asserted-Identity", "<sip:mallory@example.com>")))
    across = made.callee.asked()
    assert (across.method, across.request_uri) == ("SUBSCRIBE", "sip:room1@focus.example.org;transport=tcp")
    assert [header(across, name) for name, _ in wishes] == [value for _, value in wishes]
    assert header(across, "P-Asserted-Identity") == ""
    await made.callee.respond(200, lines=(("Expires", "300"),), contact=FOCUS)
    reply = made.replied(asked)
    assert (reply.status, header(reply, "Expires")) == (200, "300")
    assert header(reply, "Contact") == "<sip:im-leg-1@192.0.2.9:5060>;+g.oma.sip-im;isfocus"

    lines = (
        ("Event", "conference"),
        ("Subscription-State", "active;expires=300"),
        ("Content-Type", "application/conference-info+xml"),
    )
    told = await made.callee.send("NOTIFY", b"<conference-info/>", lines)
    notify = made.caller.asked()
    assert (notify.method, notify.body) == ("NOTIFY", b"<conference-info/>")
    assert [header(notify, name) for name, _ in lines] == [value for _, value in lines]
    await made.caller.respond(200)
    assert made.replied(told).status == 200


@pytest.mark.requirement("PFS-07")
async def test_refer_within_the_session(made: Bridge) -> None:
    """REFER goes on; the id of its NOTIFYs is the number that its sender knows (RFC 3515 section 2.4.6)."""
    await made.stand(contact=FOCUS)
    made.caller.cseq = 40
    asked = await made.caller.send("REFER", lines=(("Refer-To", "<sip:carol@example.com>"),))
    across = read(on_the_wire(made.callee.asked()))
    assert across.first("refer-to") == "<sip:carol@example.com>"
    assert across.cseq != 41
    await made.callee.respond(202)
    assert made.replied(asked).status == 202
    for told, passed in ((f"refer;id={across.cseq}", "refer;id=41"), ("refer", "refer"), ("refer;id=999", "refer;id=999")):
        await made.callee.send("NOTIFY", b"SIP/2.0 100 Trying", (("Event", told), ("Content-Type", "message/sipfrag")))
        assert header(made.caller.asked(), "Event") == passed
        await made.caller.respond(200)
    await made.caller.send("SUBSCRIBE", lines=(("Event", "refer;id=41"), ("Expires", "0")))
    assert header(made.callee.asked(), "Event") == f"refer;id={across.cseq}"


@pytest.mark.requirement("PFS-06", "PFS-07")
@pytest.mark.parametrize("method", ["INFO", "MESSAGE", "OPTIONS"])
async def test_other_requests_pass(made: Bridge, method: str) -> None:
    await made.stand()
    asked = await made.callee.send(method, b"hello", (("Content-Type", "text/plain"),))
    assert (made.caller.asked().method, made.caller.asked().body) == (method, b"hello")
    await made.caller.respond(415, lines=(("Accept", "text/html"),))
    assert (made.replied(asked).status, header(made.replied(asked), "Accept")) == (415, "text/html")


@pytest.mark.requirement("PFS-06")
async def test_no_request_passes_before_the_session_stands(made: Bridge) -> None:
    await made.invite(described("alice"))
    await made.callee.respond(180)
    asked = await made.callee.send("INFO")
    assert made.replied(asked).status == 491


@pytest.mark.requirement("PFS-06", "PFS-09")
async def test_no_answer_stays_open_when_the_session_ends(made: Bridge) -> None:
    await made.stand()
    asked = await made.caller.send("SUBSCRIBE", lines=(("Event", "conference"),))
    await made.callee.send("BYE")
    assert made.replied(asked).status == 487


@pytest.mark.requirement("PFS-10")
async def test_the_session_timer_of_one_leg_ends_both() -> None:
    async with bridge() as made:
        lines = (("Supported", "timer"), ("Session-Expires", "90;refresher=uac"))
        await made.invite(described("alice"), lines)
        await made.callee.respond(200, answered("bob"), (("Session-Expires", "1800;refresher=uas"),))
        await made.caller.ack(cseq=1)
        made.now += 61
        made.manager.timers.tick()
        byes = [one for one in made.port.requests() if one.method == "BYE"]
        assert ["cause=408" in header(one, "Reason") for one in byes] == [True, True]
        assert len(made.endpoint.registry) == 0


@pytest.mark.requirement("PFS-11")
def test_foci_are_remembered_for_a_time() -> None:
    now = 0.0
    foci = Foci(lambda: now)
    foci.remember("one", "sip:a@example.org")
    assert foci.find("one") == "sip:a@example.org"
    assert foci.find("two") == ""
    now = KEEP_S
    assert foci.find("one") == ""
    for number in range(MAX_KEPT + 5):
        foci.remember(str(number), "sip:b@example.org")
    assert len(foci) == MAX_KEPT
    assert foci.find("4") == ""
    assert foci.find("5")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ('"A <b>" <sip:a@b.c>;tag=1', '"A <b>"'),
        ("<sip:a@b.c>", ""),
        ("sip:a@b.c;tag=2", ""),
        ("Alice <sip:a@b.c>", "Alice"),
    ],
)
def test_display_names(value: str, name: str) -> None:
    assert name_of(value) == name


@pytest.mark.requirement("IDN-04")
@pytest.mark.parametrize(
    ("values", "private"),
    [(["id"], True), (["none"], False), (["header;ID"], True), (["user", "id"], True), (["identity"], False), ([], False)],
)
def test_privacy(values: list[str], *, private: bool) -> None:
    message = read(request("INVITE", 1, lines=[("Privacy", value) for value in values]))
    assert relay.is_private(message) is private
