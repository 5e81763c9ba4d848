"""The INVITEs of the focus: every header in every kind of session (7.2.2.1, 7.2.2.2)."""

from __future__ import annotations

import pytest

from msrp_worker.controlling.invitation import INCOMING, OUTGOING, Inviter, invitation, inviter_of, plain_name, quoted
from msrp_worker.multipart import Part, read_parts
from msrp_worker.sip.leg_types import Invitation
from msrp_worker.sip.message import read
from msrp_worker.sip.session_timer import SessionTimer, request_headers
from tests.msrp_worker.sip.sip_text import request

CONTACT = "<sip:im-session-x@192.0.2.1:5060>;isfocus;+g.oma.sip-im"
ALICE = Inviter(uri="sip:alice@example.com", name='"Alice, A"', from_uri="sip:alice@example.com")
HIDDEN = Inviter(
    uri="sip:alice@example.com",
    from_uri="sip:anonymous@anonymous.invalid",
    anonymous="sip:anonymous-1@anonymous.invalid",
    privacy=("id",),
)
GROUP = {"group": "sip:friends@example.com", "group_name": "Good friends"}


def made(inviter: Inviter, **options: str) -> Invitation:
    return invitation(inviter, "sip:bob@example.com;x=1", CONTACT, b"v=0\r\n", **options)  # type: ignore[arg-type]


def headers(made: Invitation) -> dict[str, str]:
    return dict(made.headers)


@pytest.mark.requirement("HDR-02", "HDR-03", "HDR-06", "CNF-32", "IDN-04")
@pytest.mark.parametrize(
    ("found", "from_", "asserted", "referred", "privacy"),
    [
        (
            made(ALICE),
            ('"Alice, A"', "sip:alice@example.com"),
            '"Alice, A" <sip:alice@example.com>',
            "<sip:alice@example.com>",
            None,
        ),
        (
            made(HIDDEN),
            ('"Anonymous"', "sip:anonymous@anonymous.invalid"),
            "<sip:alice@example.com>",
            "<sip:anonymous-1@anonymous.invalid>",
            "id",
        ),
        (
            made(ALICE, **GROUP),
            ('"Good friends"', "sip:friends@example.com"),
            '"Alice, A" <sip:friends@example.com>',
            "<sip:alice@example.com>",
            None,
        ),
        (
            made(ALICE, **GROUP, nickname='Q "H"'),
            ('"Good friends"', "sip:friends@example.com"),
            '"Q \\"H\\"" <sip:friends@example.com>',
            "<sip:alice@example.com>",
            None,
        ),
        (
            made(HIDDEN, **GROUP, nickname="Ally"),
            ('"Good friends"', "sip:friends@example.com"),
            "<sip:friends@example.com>",
            "<sip:anonymous-1@anonymous.invalid>",
            "id",
        ),
    ],
    ids=["ad-hoc", "anonymous", "group", "nickname", "anonymous in a group"],
)
def test_who_invites(found: Invitation, from_: tuple[str, str], asserted: str, referred: str, privacy: str | None) -> None:
    sent = headers(found)
    assert (found.from_name, found.from_uri) == from_
    assert sent["P-Asserted-Identity"] == asserted
    assert sent["Referred-By"] == referred
    assert sent.get("Privacy") == privacy
    assert sent["Accept-Contact"] == "*;+g.oma.sip-im;explicit"
    assert found.contact == CONTACT
    assert (found.request_uri, found.to_uri) == ("sip:bob@example.com;x=1", "sip:bob@example.com")


@pytest.mark.requirement("CNF-11", "CNF-06")
def test_what_else_goes_along() -> None:
    history = Part("application/resource-lists+xml", b"<x/>", (("Content-Disposition", "recipient-list-history"),))
    found = invitation(
        ALICE,
        "sip:bob@h",
        CONTACT,
        b"v=0\r\n",
        subject="Lunch",
        replaces="a;to-tag=b;from-tag=c",
        history=history,
        boundary="b",
    )
    assert headers(found)["Subject"] == "Lunch"
    assert headers(found)["Replaces"] == "a;to-tag=b;from-tag=c"
    parts = read_parts(found.content_type, found.body)
    assert [part.media_type for part in parts] == ["application/sdp", "application/resource-lists+xml"]
    assert found.sdp == parts[0].body == b"v=0\r\n"


@pytest.mark.requirement("HDR-04", "CNF-28", "CNF-33")
def test_policies_of_the_legs() -> None:
    """Who is invited refreshes, and so does who comes in."""
    assert dict(request_headers(SessionTimer(), OUTGOING.timer))["Session-Expires"] == "1800;refresher=uas"
    assert INCOMING.timer.refresher == "uac"
    assert {"timer", "100rel"} <= set(OUTGOING.supported)
    assert {"INVITE", "UPDATE", "REFER", "SUBSCRIBE"} <= set(OUTGOING.allow)


@pytest.mark.requirement("HDR-06", "IDN-02")
@pytest.mark.parametrize(
    ("value", "name", "uri"),
    [
        ('"Alice \\"A\\"" <sip:alice@h>;tag=1', '"Alice \\"A\\""', "sip:alice@h"),
        ("Alice <sip:alice@h>;tag=1", '"Alice"', "sip:alice@h"),
        ("sip:eve@h, Alice <sip:alice@h>;tag=1", '"sip:eve@h, Alice"', "sip:alice@h"),
        ("<sip:alice@h>;tag=1", "", "sip:alice@h"),
        ("sip:alice@h;tag=1", "", "sip:alice@h"),
        ('"<x>;" <sip:alice@h>;tag=1', '"<x>;"', "sip:alice@h"),
    ],
)
def test_from_is_read(value: str, name: str, uri: str) -> None:
    text = request("INVITE", 1).replace(b'"Alice, A" <sip:alice@example.com>;tag=a', value.encode())
    found = inviter_of(read(text), "sip:alice@h", "")
    assert (found.name, found.from_uri) == (name, uri)


def test_names() -> None:
    assert quoted('a "b" \\c\n') == '"a \\"b\\" \\\\c"'
    assert quoted("") == ""
    assert plain_name(quoted('a "b" \\c')) == 'a "b" \\c'
    assert plain_name(" Alice ") == "Alice"
