"""The reader of SIP messages, and dialogs made from what it reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from msrp_worker.sip import dialog
from msrp_worker.sip.dialog import Dialog
from msrp_worker.sip.message import MalformedMessage, address, parameters, read, sip_uri, split
from tests.msrp_worker.sip.sip_text import ANSWER, OFFER, header, request, text

TRICKY = (
    b"INVITE sip:im@example.com SIP/2.0\r\n"
    b'f: "A, \\"quoted\\" <sip:no@x>;tag=no" <sip:alice@example.com;x=1>\r\n'
    b"  ;tag=a;self=1\r\n"
    b"t:\t<sip:im@example.com>\r\n"
    b"i: c1@h\r\n"
    b"CSeq: 0000000007   INVITE\r\n"
    b'm: "Al, ice" <sip:alice@h;ob?x=y>;q=0.5, <sip:other@h>\r\n'
    b"Subject: \xff\xfe\r\n"
    b"k: timer,\r\n 100rel\r\nSUPPORTED: Replaces\r\n"
    b"x: 0900;refresher=uac\r\n"
    b"Record-Route: <sip:p1;lr>,<sip:p2;lr>\r\nRecord-Route:<sip:p3;lr>\r\n"
    b'Content-Type: multipart/mixed;boundary="b 1"\r\n'
    b"l: 999\r\n\r\n"
    b"preamble\r\n--b 1\r\nContent-Type: application/resource-lists+xml\r\n\r\n<x/>\r\n"
    b"--b 1\r\nContent-Type: Application/SDP\r\n\r\nv=0\r\no=x\r\n\r\n--b 1--\r\n"
)


def test_what_the_wire_allows_is_read() -> None:
    message = read(TRICKY)
    assert (message.call_id, message.cseq, message.from_tag, message.to_tag) == ("c1@h", 7, "a", "")
    assert message.contact == "sip:alice@h;ob?x=y"
    assert message.tokens("supported") == {"timer", "100rel", "replaces"}
    assert message.number("session-expires") == 900
    assert message.values("record-route") == ["<sip:p1;lr>", "<sip:p2;lr>", "<sip:p3;lr>"]
    assert message.sdp == b"v=0\r\no=x\r\n"
    assert message.first("subject").encode("utf-8", "surrogateescape") == b"\xff\xfe"


@pytest.mark.parametrize(
    ("content_type", "body", "sdp"),
    [
        ("application/sdp", OFFER, OFFER),
        ("Application/SDP;charset=x", OFFER, OFFER),
        ("text/plain", OFFER, b""),
        ("multipart/mixed;boundary=x", b"no parts", b""),
        ("multipart/mixed", b"--x\r\n\r\n--x--", b""),
        ("application/sdp", b"", b""),
    ],
)
def test_the_description_of_a_body(content_type: str, body: bytes, sdp: bytes) -> None:
    assert read(request("INVITE", 1, lines=[("Content-Type", content_type)], body=body)).sdp == sdp


def test_every_cut_of_a_message_is_read_or_refused() -> None:
    for end in range(len(TRICKY)):
        try:
            read(TRICKY[:end])
        except MalformedMessage:
            pass
    assert read(TRICKY.replace(b"\r\n", b"\n")).cseq == 7


@given(st.binary(max_size=300), st.integers(0, len(TRICKY)))
def test_any_bytes_are_read_or_refused(junk: bytes, at: int) -> None:
    for data in (junk, TRICKY[:at] + junk + TRICKY[at:]):
        try:
            message = read(data)
        except MalformedMessage:
            continue
        assert isinstance(message.sdp, bytes)
        assert message.contact.isascii()
        try:
            made = dialog.as_callee(message, "us", "<sip:im@h>")
        except MalformedMessage:
            continue
        dialog.request(made, "BYE")


@pytest.mark.parametrize(
    ("value", "uri"),
    [
        ("<sip:a@b>", "sip:a@b"),
        ("sip:a@b;tag=1", "sip:a@b"),
        ('"x <y>" <sips:a@b;z>;q=1', "sips:a@b;z"),
        ("SIP:a@b", "SIP:a@b"),
        ("<tel:+1>", ""),
        ("<sip:a@b", "sip:a@b"),
        ("<sip:a b>", ""),
        ("<sip:é@b>", ""),
        ("", ""),
    ],
)
def test_sip_uris(value: str, uri: str) -> None:
    assert sip_uri(value) == uri


def test_parts_and_parameters() -> None:
    assert list(split('a, "b,\\"c", <d,e>, f', ",")) == ["a", '"b,\\"c"', "<d,e>", "f"]
    assert parameters('<sip:x;in=1>;A=1;b="2;3" ; c;a=9') == {"a": "1", "b": "2;3", "c": ""}
    assert address(' "x" <sip:a@b> ;t=1') == "sip:a@b"


BASE = Dialog(
    call_id="c",
    local_tag="us",
    remote_tag="them",
    local_uri="sip:us@h",
    remote_uri="sip:them@h",
    remote_target="sip:them@device",
    contact="<sip:us@here>",
    local_cseq=4,
)


@pytest.mark.parametrize(
    ("routes", "uri", "next_hop", "route"),
    [  # RFC 3261 12.2.1.1
        ((), "sip:them@device", "", ""),
        (("<sip:p1;lr>", "<sip:p2>"), "sip:them@device", "sip:p1;lr", "<sip:p1;lr>, <sip:p2>"),
        (
            ("<sip:proxy1;method=BYE?x=y>", "<sip:proxy2>", "<sip:proxy3;lr>"),
            "sip:proxy1",
            "sip:proxy1;method=BYE?x=y",
            "<sip:proxy2>, <sip:proxy3;lr>, <sip:them@device>",
        ),
    ],
)
def test_requests_follow_loose_and_strict_routes(routes: tuple[str, ...], uri: str, next_hop: str, route: str) -> None:
    after, sent = dialog.request(replace(BASE, route_set=routes), "UPDATE")
    assert (sent.request_uri, sent.next_hop, header(sent, "Route")) == (uri, next_hop, route)
    assert after.local_cseq == 5 and header(sent, "CSeq") == "5 UPDATE" and header(sent, "Contact") == "<sip:us@here>"
    assert header(dialog.request(BASE, "BYE")[1], "Contact") == ""


def test_only_what_was_accepted_moves_the_target() -> None:
    moved = read(request("UPDATE", 2, contact="<sip:them@new>"))
    assert dialog.received(BASE, moved).remote_target == "sip:them@device"
    assert dialog.retargeted(BASE, moved).remote_target == "sip:them@new"
    assert dialog.retargeted(BASE, read(request("UPDATE", 2, contact=""))).remote_target == "sip:them@device"


def test_numbers_of_the_peer_may_have_gaps_and_never_go_back() -> None:
    heard = dialog.received(BASE, read(request("INFO", 9)))
    assert [dialog.in_order(heard, read(request("INFO", number))) for number in (8, 9, 10, 900)] == [
        False,
        False,
        True,
        True,
    ]


def test_after_a_restart_numbers_go_on_above_all_that_were_used() -> None:
    assert dialog.next_number(4) == 1004
    assert dialog.next_number(2**31 - 2) <= 2**31 - 1


def test_too_many_routes_are_not_kept() -> None:
    lines = [("Record-Route", "<sip:p;lr>")] * (dialog.MAX_ROUTES + 1)
    with pytest.raises(MalformedMessage):
        dialog.as_callee(read(request("INVITE", 1, lines=lines)), "us", "<sip:us@here>")


def test_a_response_is_read_too() -> None:
    data = text(
        "SIP/2.0 183 Session Progress",
        [("From", "<sip:a@b>;tag=1"), ("To", "<sip:c@d>;tag=2"), ("Call-ID", "x"), ("CSeq", "3 INVITE")],
        ANSWER,
    )
    message = read(data)
    assert (message.status, message.reason, message.method, message.to_tag) == (183, "Session Progress", "INVITE", "2")
