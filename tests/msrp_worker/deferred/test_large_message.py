"""Which offers a store can take, and what it keeps of a session (10.3.2.2, 10.3.2.4)."""

from __future__ import annotations

import msgspec
import pytest

from msrp_worker import cpim, sdp
from msrp_worker.deferred.large_message import (
    ENVELOPE,
    Expected,
    bye_bytes,
    expected,
    invite_bytes,
    largest,
    ok_bytes,
    send_bytes,
    stored_session,
)
from msrp_worker.deferred.payload import Form, payload_of, session_bytes
from msrp_worker.deferred.request import Refused
from msrp_worker.msrp.frames import Request
from msrp_worker.msrp.incoming import IncomingMessage
from msrp_worker.sip.message import read
from tests.msrp_worker.deferred.test_payload import PLAIN

HEAD = "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\n"
LINE = "m=message 7777 TCP/MSRP *\r\na=accept-types:*\r\na=path:msrp://1.2.3.4:7777/abc;tcp\r\n"
SIZE = 'a=file-selector:name:"a.png" size:{}\r\n'
SENDONLY = "a=sendonly\r\n"


@pytest.mark.requirement("LRG-04", "LRG-05", "LRG-06", "PFS-16")
@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        (LINE + SENDONLY + SIZE.format(100), ((0, 100),)),
        (LINE + SENDONLY + SIZE.format(0), ((0, 0),)),
        (LINE + SENDONLY + "a=filesize:7\r\n", ((0, 7),)),
        (LINE + SENDONLY + "a=filelength:7\r\n", ((0, 7),)),
        (LINE + SENDONLY + SIZE.format(50) + "a=file-range:11-*\r\n", ((0, 40),)),
        ((LINE + SENDONLY + SIZE.format(1)) * 3, ((0, 1), (1, 1), (2, 1))),
        ("m=audio 1 RTP/AVP 0\r\n" + LINE + SENDONLY + SIZE.format(5), ((1, 5),)),
        (LINE.replace("7777 ", "0 ") + LINE + SENDONLY + SIZE.format(5), ((1, 5),)),
        (LINE + SENDONLY + SIZE.format(101), 403),
        (LINE + SENDONLY, 403),
        (LINE + SIZE.format(5), 403),
        (LINE + "a=recvonly\r\n" + SIZE.format(5), 403),
        ((LINE + SENDONLY + SIZE.format(1)) + LINE + SENDONLY, 403),
        ("m=audio 1 RTP/AVP 0\r\n", 488),
        ("", 488),
        (LINE.replace("a=path", "a=pith") + SENDONLY + SIZE.format(5), 400),
        (LINE + SENDONLY + SIZE.format("x"), 400),
    ],
)
def test_what_an_offer_must_say(lines: str, outcome: tuple[tuple[int, int], ...] | int) -> None:
    found = expected(sdp.parse((HEAD + lines).encode()), 100)
    if isinstance(found, Refused):
        assert found.status == outcome
    else:
        assert found == tuple(Expected(*one) for one in outcome)  # type: ignore[union-attr]


def message(content_type: str = "image/png", *, chunks: int = 1, block: bytes = b"") -> IncomingMessage:
    """A message that has come, in so many chunks."""
    request = Request("tid12345", "SEND", "msrp://1.2.3.5:1/s;tcp", "msrp://1.2.3.4:7777/abc;tcp", block, "m1")
    request.content_type = content_type
    found = IncomingMessage(request, 0.0)
    if chunks > 1:
        found.transaction_id = "tidlast1"
    return found


@pytest.mark.requirement("LRG-06")
def test_an_envelope_comes_on_top_of_the_declared_size() -> None:
    assert largest(message(), 100) == 100
    assert largest(message("Message/CPIM; x=y"), 100) == 100 + ENVELOPE


INVITE = read(
    b"INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 1.2.3.4;branch=z9hG4bKx\r\nMax-Forwards: 70\r\n"
    b"f: Alice <sip:alice@example.com>;tag=a1\r\nTo: <sip:bob@example.com>\r\ni: call-1\r\nCSeq: 7 INVITE\r\n"
    b"Contact: <sip:alice@1.2.3.4>;+g.oma.sip-im\r\nSubject: holiday\r\nProxy-Authorization: Digest secret\r\n"
    b"P-Asserted-Identity: <sip:mallory@example.com>\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"
)
ANSWER = ("tag-b", "<sip:im-leg-1@1.2.3.5>;automata", b"v=1\r\n")


@pytest.mark.requirement("DEF-04", "LRG-04", "IDN-04")
def test_the_kept_headers_are_the_relevant_ones() -> None:
    invite = invite_bytes(INVITE, private=False)
    assert invite.startswith(b"INVITE sip:bob@example.com SIP/2.0\r\nFrom: Alice <sip:alice@example.com>;tag=a1\r\n")
    assert invite.endswith(b"Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n")
    for kept in (b"Call-ID: call-1", b"CSeq: 7 INVITE", b"Subject: holiday", b"Contact: <sip:alice@1.2.3.4>"):
        assert kept in invite
    for dropped in (b"Via", b"secret", b"Max-Forwards", b"mallory"):
        assert dropped not in invite
    assert b"Contact" not in invite_bytes(INVITE, private=True)
    ok = ok_bytes(INVITE, *ANSWER)
    assert b"To: <sip:bob@example.com>;tag=tag-b\r\n" in ok and ok.endswith(b"\r\n\r\nv=1\r\n")
    assert b"CSeq: 8 BYE\r\n" in bye_bytes(None, INVITE, "tag-b", "sip:im-leg-1@1.2.3.5", private=False)
    bye = read(b"BYE sip:x@y SIP/2.0\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b@b>;tag=2\r\nCall-ID: c\r\nCSeq: 9 BYE\r\n\r\n")
    assert bye_bytes(bye, INVITE, "", "", private=False).startswith(b"BYE sip:x@y SIP/2.0\r\nFrom: <sip:a@b>;tag=1\r\n")


OFFER = (
    "v=0\r\no=alice 1 1 IN IP4 alice-pc.example.com\r\ns=of alice\r\ni=alice\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\n"
    "m=message 7777 TCP/MSRP *\r\ni=alice\r\nc=IN IP4 1.2.3.4\r\na=sendonly\r\na=accept-types:*\r\n"
    "a=path:msrp://alice@1.2.3.4:7777/abc;tcp\r\na=fingerprint:sha-1 AB:CD\r\n"
    'a=file-selector:name:"a.png" size:5\r\nm=audio 5004 RTP/AVP 0\r\na=candidate:1 1.2.3.4\r\n'
)


@pytest.mark.requirement("DEF-04", "LRG-04", "IDN-04")
@pytest.mark.parametrize(("offer", "kept"), [(OFFER, True), ("v=0\r\no=alice", False)])
def test_the_description_of_a_private_sender_does_not_tell_who_it_is(offer: str, kept: bool) -> None:
    head = "INVITE sip:bob@example.com SIP/2.0\r\nFrom: <sip:anonymous@anonymous.invalid>;tag=a1\r\nTo: <sip:bob@b>\r\n"
    rest = "Call-ID: call-1\r\nCSeq: 7 INVITE\r\nPrivacy: id\r\nContent-Type: application/sdp\r\n\r\n"
    invite = invite_bytes(read((head + rest + offer).encode()), private=True)
    for told in (b"alice", b"1.2.3.4", b"AB:CD"):
        assert told not in invite
    assert (b'a=file-selector:name:"a.png" size:5\r\n' in invite) is kept
    assert (b"a=path:msrp://anonymous.invalid:9/anonymous;tcp\r\n" in invite) is kept


@pytest.mark.requirement("DEF-04", "LRG-07", "IDN-04")
def test_the_send_as_it_is_kept() -> None:
    """Message-ID and other fields stay, Content-Type is last, and of several chunks one is made."""
    block = b"Message-ID: m1\r\nByte-Range: 1-5/9\r\nContent-Disposition: attachment\r\nContent-Type: image/png\r\n"
    head, end = send_bytes(message(block=block), "msrp://1.2.3.5:1/s;tcp", 9, private=False)
    lines = head.decode().split("\r\n")
    assert lines[0] == "MSRP tid12345 SEND" and end == b"\r\n-------tid12345$\r\n"
    assert lines[1:] == [
        "To-Path: msrp://1.2.3.5:1/s;tcp",
        "From-Path: msrp://1.2.3.4:7777/abc;tcp",
        "Message-ID: m1",
        "Byte-Range: 1-9/9",
        "Content-Disposition: attachment",
        "Content-Type: image/png",
        "",
        "",
    ]
    many, end = send_bytes(message(chunks=2, block=block), "msrp://1.2.3.5:1/s;tcp", 9, private=True)
    assert b"tid" not in many and many.partition(b" SEND")[0].removeprefix(b"MSRP ") in end
    assert b"1.2.3.4" not in many


@pytest.mark.requirement("DEF-04", "LRG-04", "LRG-07")
@pytest.mark.parametrize("kind", ["image/png", "message/cpim"])
def test_what_clients_of_envelopes_get(kind: str) -> None:
    """The content in an envelope of ours with its disposition, or in its own."""
    came = message(kind, block=b"Content-Disposition: attachment; filename=a\r\n")
    send = send_bytes(came, "msrp://1.2.3.5:1/s;tcp", 9, private=False)
    stored = stored_session(INVITE, ANSWER, b"BYE", send, kind, private=False)
    kept = msgspec.structs.replace(PLAIN, content_path="content/x", message=session_bytes(stored), content_type=kind)
    payload = payload_of(kept, Form.CPIM)
    assert payload.content_type == "message/cpim"
    if kind == "message/cpim":
        assert (payload.head, payload.tail) == (b"", b"")
        return
    envelope, body = cpim.parse(payload.head + b"content")
    assert (envelope.content_type, body) == ("image/png", b"content")
    assert ("Content-Disposition", "attachment; filename=a") in envelope.content_headers
