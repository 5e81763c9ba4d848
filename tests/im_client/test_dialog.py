"""Dialogs (RFC 3261 section 12): what they are made of, which way their requests take, which order they keep."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sipmessage import Request, Response

from im_client import dialog
from im_client.errors import MalformedMessageError
from im_client.transport import Target
from im_client.wire import parse


def request(*lines: str, method: str = "INVITE", cseq: int = 7) -> Request:
    head = [
        f"{method} sip:bob@example.com SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
        'From: "A; lice" <sip:alice@example.com>;tag=a1',
        "To: <sip:bob@example.com>",
        "Call-ID: call-1",
        f"CSeq: {cseq} {method}",
        *lines,
    ]
    found = parse("\r\n".join([*head, "", ""]).encode(), datagram=True)
    assert isinstance(found, Request)
    return found


def response(*lines: str, status: int = 200, method: str = "INVITE") -> Response:
    head = [
        f"SIP/2.0 {status} OK",
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
        'From: "A; lice" <sip:alice@example.com>;tag=a1',
        "To: <sip:bob@example.com>;tag=b1",
        "Call-ID: call-1",
        f"CSeq: 7 {method}",
        *lines,
    ]
    found = parse("\r\n".join([*head, "", ""]).encode(), datagram=True)
    assert isinstance(found, Response)
    return found


PROXIES = ("Record-Route: <sip:p2.example.com;lr>, <sip:p1.example.com;transport=tcp;lr>",)


def test_the_caller_takes_the_route_in_reverse_and_the_callee_as_it_is() -> None:
    caller = dialog.of_caller(request(), response(*PROXIES, "Contact: <sip:bob@192.0.2.2:5070>"))
    assert caller.id == ("call-1", "a1", "b1")
    assert caller.route == ("<sip:p1.example.com;transport=tcp;lr>", "<sip:p2.example.com;lr>")
    assert (caller.target, caller.local_cseq, caller.remote_cseq) == ("sip:bob@192.0.2.2:5070", 7, None)
    callee = dialog.of_callee(request(*PROXIES, "Contact: <sip:alice@192.0.2.1>"), "b1")
    assert callee.id == ("call-1", "b1", "a1")
    assert callee.route == ("<sip:p2.example.com;lr>", "<sip:p1.example.com;transport=tcp;lr>")
    assert (callee.target, callee.local_cseq, callee.remote_cseq) == ("sip:alice@192.0.2.1", 0, 7)
    assert (caller.initiator, callee.initiator) == (True, False)


def test_a_request_within_the_dialog() -> None:
    found = dialog.of_caller(request(), response(*PROXIES, "Contact: <sip:bob@192.0.2.2:5070>"))
    bye = dialog.build_request(found, "BYE", [("Reason", "SIP;cause=200")], number=8)
    assert str(bye.uri) == "sip:bob@192.0.2.2:5070"
    assert bye.headers.getlist("Route") == ["<sip:p1.example.com;transport=tcp;lr>", "<sip:p2.example.com;lr>"]
    assert bye.headers.get("From") == '"A; lice" <sip:alice@example.com>;tag=a1'
    assert bye.headers.get("To") == "<sip:bob@example.com>;tag=b1"
    assert (bye.headers.get("CSeq"), bye.headers.get("Call-ID")) == ("8 BYE", "call-1")
    assert dialog.next_hop(found) == Target("p1.example.com", 5060, "tcp")


def test_a_strict_router_gets_its_own_uri_as_request_uri() -> None:
    found = dialog.of_caller(
        request(), response("Record-Route: <sip:p2.example.com;lr>, <sip:p1.example.com>", "Contact: <sip:bob@192.0.2.2>")
    )
    bye = dialog.build_request(found, "BYE", [])
    assert str(bye.uri) == "sip:p1.example.com"
    assert bye.headers.getlist("Route") == ["<sip:p2.example.com;lr>", "<sip:bob@192.0.2.2>"]


@pytest.mark.parametrize(
    ("target", "hop"),
    [
        ("sip:bob@192.0.2.2:5070", Target("192.0.2.2", 5070, "udp")),
        ("sip:bob@[2001:db8::1];transport=TCP", Target("2001:db8::1", 5060, "tcp")),
        ("sips:bob@example.com", Target("example.com", 5061, "tls")),
        ("sip:bob@192.0.2.2;transport=sctp", None),
        ("tel:+1234", None),
    ],
)
def test_next_hop_without_route(target: str, hop: Target | None) -> None:
    found = dialog.of_callee(request("Contact: <sip:alice@192.0.2.1>"), "b1")
    assert dialog.next_hop(replace(found, target=target)) == hop


def test_the_target_moves_with_requests_that_may_move_it_only() -> None:
    found = dialog.of_callee(request("Contact: <sip:alice@192.0.2.1>"), "b1")
    moved = dialog.received(found, request("Contact: <sip:alice@192.0.2.9>", method="UPDATE", cseq=8))
    assert (moved.target, moved.remote_cseq) == ("sip:alice@192.0.2.9", 8)
    kept = dialog.received(found, request("Contact: <sip:alice@192.0.2.9>", method="PRACK", cseq=8))
    assert kept.target == "sip:alice@192.0.2.1"
    assert dialog.answered(found, response("Contact: <sip:b@192.0.2.7>", method="UPDATE")).target == "sip:b@192.0.2.7"
    assert dialog.answered(found, response("Contact: <sip:b@192.0.2.7>", method="BYE")).target == "sip:alice@192.0.2.1"


def test_requests_come_in_order() -> None:
    found = dialog.of_callee(request("Contact: <sip:alice@192.0.2.1>"), "b1")
    assert not dialog.in_order(found, request(method="BYE", cseq=7))
    assert dialog.in_order(found, request(method="BYE", cseq=8))
    assert dialog.in_order(found, request(method="BYE", cseq=100))
    assert dialog.in_order(replace(found, remote_cseq=None), request(method="BYE", cseq=0))


def test_the_final_answer_sets_the_route_anew() -> None:
    early = dialog.of_caller(request(), response("Record-Route: <sip:old.example.com;lr>", status=183))
    assert early.target == "sip:bob@example.com"  # a provisional response may lack Contact
    final = dialog.confirmed(early, response("Record-Route: <sip:new.example.com;lr>", "Contact: <sip:bob@192.0.2.2>"))
    assert (final.route, final.target) == (("<sip:new.example.com;lr>",), "sip:bob@192.0.2.2")


@pytest.mark.parametrize("lines", [(), ("Contact: *",), ("Contact: <>",), ("Contact: <mailto:a@b>",)])
def test_an_invitation_without_usable_contact_makes_no_dialog(lines: tuple[str, ...]) -> None:
    with pytest.raises(MalformedMessageError):
        dialog.of_callee(request(*lines), "b1")


def test_addresses_without_brackets_keep_their_parameters_apart() -> None:
    found = request("Contact: <sip:alice@192.0.2.1>")
    found.headers.set("From", "sip:alice@example.com;tag=a1;x=y")
    made = dialog.of_callee(found, "b1")
    assert made.remote == "<sip:alice@example.com>;x=y"
    assert dialog.build_request(made, "BYE", []).headers.get("To") == "<sip:alice@example.com>;x=y;tag=a1"
