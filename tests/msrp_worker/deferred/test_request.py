"""Which messages an INVITE asks for (DEF-07)."""

from __future__ import annotations

import pytest

from msrp_worker.deferred.request import Refused, Wanted, is_retrieval, judge, read_request, user_at
from msrp_worker.uri_list import MOST_ENTRIES

DOMAIN = "example.com"
URI = "sip:deferred@example.com"
PATH = "a=path:msrp://1.2.3.4:7777/abc;tcp\r\n"
RECVONLY = (
    "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\n"
    f"m=message 7777 TCP/MSRP *\r\na=accept-types:*\r\n{PATH}a=recvonly\r\n"
).encode()
LIST = '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list>{}</list></resource-lists>'


def with_list(*uris: str, sdp: bytes = RECVONLY) -> tuple[str, bytes]:
    return with_document(LIST.format("".join(f'<entry uri="{uri}"/>' for uri in uris)), sdp)


def with_document(document: str, sdp: bytes = RECVONLY) -> tuple[str, bytes]:
    parts = (
        b"--b1\r\nContent-Type: application/sdp\r\n\r\n" + sdp,
        b"\r\n--b1\r\nContent-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n\r\n",
        document.encode() + b"\r\n--b1--\r\n",
    )
    return 'multipart/mixed; boundary="b1"', b"".join(parts)


def asked(uri: str, content: tuple[str, bytes]) -> Wanted | Refused:
    return read_request(uri, *content, DOMAIN)


SDP = ("application/sdp", RECVONLY)


@pytest.mark.requirement("DEF-07")
@pytest.mark.parametrize(
    ("uri", "content", "expected"),
    [
        (URI, SDP, None),
        ("sips:Deferred@EXAMPLE.com:5060;transport=tcp", SDP, None),
        (URI, ("Application/SDP ; x=y", RECVONLY), None),
        (URI, with_list("sip:1@example.com", "2@example.com"), ("1@example.com", "2@example.com")),
        (URI, with_list("sip:1%40example.com@example.com"), ("1@example.com",)),
        (URI, with_list("sip:1@example.com", "SIP:1@example.com;x=y"), ("1@example.com",)),
        (URI, with_list("sip:alice@example.com"), ("alice@example.com",)),
        ("sip:d0982dkjs%40Joemobile.example.net@example.com", SDP, ("d0982dkjs@Joemobile.example.net",)),
        ("sip:7%40example.com@example.com;x=y", SDP, ("7@example.com",)),
        ("sip:7%40example.com@example.com", with_list("sip:8@example.com"), ("7@example.com",)),
        (URI, ("application/sdp", RECVONLY.replace(b"t=0 0\r\n", b"t=0 0\r\na=recvonly\r\n")), None),
    ],
)
def test_what_is_asked_for(uri: str, content: tuple[str, bytes], expected: tuple[str, ...] | None) -> None:
    assert asked(uri, content) == Wanted(expected)


@pytest.mark.requirement("DEF-07", "SEC-05")
@pytest.mark.parametrize(
    ("content", "status"),
    [
        (("", b""), 403),
        (("text/plain", b"hello"), 403),
        (("application/sdp", RECVONLY.replace(b"recvonly", b"sendonly")), 403),
        (("application/sdp", RECVONLY.replace(b"a=recvonly\r\n", b"")), 403),
        (("application/sdp", RECVONLY.replace(b"TCP/MSRP", b"RTP/AVP")), 403),
        (("application/sdp", RECVONLY + RECVONLY.partition(b"t=0 0\r\n")[2].replace(b"recvonly", b"sendrecv")), 403),
        (("application/sdp", b"nonsense"), 400),
        (with_list("sip:1@example.com", sdp=RECVONLY.replace(b"recvonly", b"sendrecv")), 403),
        (with_document("<resource-lists/>"), 400),
        (with_document("<broken"), 400),
        (with_document('<!DOCTYPE a [<!ENTITY b "c">]>' + LIST.format("")), 400),
        (with_list(), 404),
        (with_list(*(f"{number}@x" for number in range(MOST_ENTRIES + 1))), 413),
        (with_document(LIST.format("x" * 131072)), 400),
        (("multipart/mixed; boundary=none", RECVONLY), 400),
    ],
)
def test_what_is_refused(content: tuple[str, bytes], status: int) -> None:
    found = asked(URI, content)
    assert isinstance(found, Refused)
    assert found.status == status


@pytest.mark.requirement("DEF-07")
@pytest.mark.parametrize(
    ("ids", "owners", "expected"),
    [
        (("1@x", "2@x"), {"1@x": "me", "2@x": "me"}, ("1@x", "2@x")),
        (("2@x", "1@x", "2@x"), {"1@x": "me", "2@x": "me"}, ("2@x", "1@x")),
        (("1@x", "2@x"), {"2@x": "me"}, ("2@x",)),
        (("1@x",), {}, 404),
        (("1@x", "2@x"), {"1@x": "me", "2@x": "you"}, 403),
        (("1@x",), {"1@x": "you"}, 403),
    ],
)
def test_whose_messages_they_are(ids: tuple[str, ...], owners: dict[str, str], expected: tuple[str, ...] | int) -> None:
    found = judge("me", ids, owners)
    assert (found.status if isinstance(found, Refused) else found.message_ids) == expected


@pytest.mark.requirement("DEF-07")
@pytest.mark.parametrize(
    ("uri", "user", "retrieval"),
    [
        (URI, "deferred", True),
        ("sip:1%40example.com@example.com", "1@example.com", True),
        ("sip:Deferred@example.com", "Deferred", True),
        ("sip:alice@example.com", "alice", False),
        ("sip:deferred@example.org", None, False),
        ("sip:example.com", None, False),
        ("tel:+1", None, False),
        ("sip:al%ffice@example.com", "al\ufffdice", False),
    ],
)
def test_the_addresses_of_the_function(uri: str, user: str | None, retrieval: bool) -> None:
    assert user_at(uri, DOMAIN) == user
    assert is_retrieval(uri, DOMAIN) is retrieval
