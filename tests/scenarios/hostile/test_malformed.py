"""SIP that no client should send: a clear answer or silence, no bug, no harm to anybody else (SEC-05)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from tests.credentials import authorization
from tests.scenarios.bed import Instance, RawSip
from tests.scenarios.health import Whole
from tests.scenarios.raw import RawTcp
from tests.scenarios.traffic import FEATURE_TAG, Sip, address, im_message, unique

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.1", "IM_USER_RATE": "0"}
MAX_TCP_MESSAGE = 131072
"""`tcp_rd_buf_size` of kamailio.cfg."""


@pytest.fixture(autouse=True)
def goes_on(instance: Instance) -> Iterator[None]:
    """After every attack an ordinary message passes, no process has died, and no exception was logged."""
    before = instance.kamailio_log().count("IM bug")
    with Whole(instance):
        yield
        with RawTcp(instance.sip_port) as tcp:
            assert tcp.ask(im_message("alice", "bob")).startswith(b"SIP/2.0 202 ")
    assert instance.kamailio_log().count("IM bug") == before, instance.kamailio_log()[-4000:]
    assert "cannot answer" not in instance.worker_log()


def good(host: str, port: int, transport: str = "UDP", body: bytes = b"Hello", **values: object) -> bytes:
    """An IM message from a trusted peer, to be spoiled."""
    return im_message("alice", "bob", body, **values).bytes(host, port, transport)


def statuses(instance: Instance, data: bytes, seconds: float = 10) -> int:
    """The final status of a request sent over UDP from an address of its own."""
    raw = RawSip(instance.sip_port)
    try:
        via = f"127.0.0.1:{raw.port};rport".encode()
        raw.send(data.replace(b"HOST;rport", via))
        return int(raw.final(seconds)[8:11])
    finally:
        raw.close()


def message(*changes: tuple[bytes, bytes]) -> bytes:
    """A good message with parts replaced; each part must be there."""
    data = good("HOST", 0).replace(b"HOST:0;branch=", b"HOST;rport;branch=").replace(b";rport\r\n", b"\r\n", 1)
    for old, new in changes:
        assert old in data, old
        data = data.replace(old, new, 1)
    return data


@pytest.mark.requirement("SEC-05")
def test_cut_at_every_offset(instance: Instance) -> None:
    """A datagram that ends anywhere: never accepted, unless only the body is shorter than said."""
    raw = RawSip(instance.sip_port)
    for end in range(len(good(raw.address, raw.port)) - 1):
        raw.send(good(raw.address, raw.port)[:end])
    mark = im_message("alice", "bob")
    raw.send(mark.bytes(raw.address, raw.port))
    while mark.call_id.encode() not in (answer := raw.final()):
        assert not answer.startswith(b"SIP/2.0 2"), answer
    raw.close()


@pytest.mark.requirement("SEC-05")
def test_noise(instance: Instance) -> None:
    """Datagrams that are no SIP at all, and responses to nothing."""
    generator = random.Random(5)
    raw = RawSip(instance.sip_port)
    for data in (b"", b"\r\n\r\n", b"\0" * 2000, b"\xff" * 2000, b"SIP/2.0", b"SIP/2.0 200 OK\r\n\r\n", b"A" * 60_000):
        raw.send(data)
    for _ in range(300):
        raw.send(generator.randbytes(generator.randrange(1, 1400)))
        spoiled = bytearray(good(raw.address, raw.port))
        for _ in range(generator.randrange(1, 20)):
            spoiled[generator.randrange(len(spoiled))] = generator.randrange(256)
        raw.send(bytes(spoiled))
    response = good(raw.address, raw.port).replace(b"MESSAGE sip:bob@example.com SIP/2.0", b"SIP/2.0 200 OK")
    raw.send(response)
    raw.close()


BROKEN = {
    "no CSeq": [(b"CSeq: 1 MESSAGE\r\n", b"")],
    "CSeq without number": [(b"CSeq: 1 MESSAGE", b"CSeq: MESSAGE")],
    "CSeq is text": [(b"CSeq: 1 MESSAGE", b"CSeq: one MESSAGE")],
    "CSeq of another method": [(b"CSeq: 1 MESSAGE", b"CSeq: 1 INVITE")],
    "CSeq beyond 32 bits": [(b"CSeq: 1 MESSAGE", b"CSeq: 99999999999999999999 MESSAGE")],
    "negative CSeq": [(b"CSeq: 1 MESSAGE", b"CSeq: -1 MESSAGE")],
    "Content-Length too large": [(b"Content-Length: 5", b"Content-Length: 500")],
    "Content-Length negative": [(b"Content-Length: 5", b"Content-Length: -5")],
    "Content-Length is text": [(b"Content-Length: 5", b"Content-Length: five")],
    "Content-Length immense": [(b"Content-Length: 5", b"Content-Length: 99999999999999999999")],
    "two Content-Length": [(b"Content-Length: 5", b"Content-Length: 500\r\nContent-Length: 5")],
    "no From": [(b"From:", b"X-From:")],
    "no To": [(b"\r\nTo:", b"\r\nX-To:")],
    "no Call-ID": [(b"Call-ID:", b"X-Call-ID:")],
    "From is no address": [(b"<sip:alice@example.com>", b'<<<>>>"')],
    "SIP/3.0": [(b"SIP/2.0\r\nVia", b"SIP/3.0\r\nVia")],
    "other scheme": [(b"MESSAGE sip:bob@example.com", b"MESSAGE http://example.com/")],
    "URI without host": [(b"MESSAGE sip:bob@example.com", b"MESSAGE sip:bob@")],
    "URI of 1,500 characters": [(b"MESSAGE sip:bob@", b"MESSAGE sip:" + b"b" * 1500 + b"@")],
    "NUL in the Request-URI": [(b"MESSAGE sip:bob@", b"MESSAGE sip:b\0b@")],
    "no hop left": [(b"Max-Forwards: 70", b"Max-Forwards: 0")],
    "bytes in the name of a header": [(b"Content-Type", b"X-\xff\xfe: 1\r\nContent-Type")],
    "header without colon": [(b"Max-Forwards: 70", b"Max-Forwards: 70\r\nthis is no header")],
}


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_request_is_not_accepted(instance: Instance, name: str) -> None:
    """A failure response where one can be addressed, silence where it cannot."""
    try:
        status = statuses(instance, message(*BROKEN[name]), 0.3)
    except TimeoutError:
        return
    assert 400 <= status < 600, status


BYTES = b"\xff\xfe\xe9\x80"
SPOILED = {
    "Request-URI user": [(b"MESSAGE sip:bob@", b"MESSAGE sip:b%b@" % BYTES)],
    "Request-URI parameter": [(b"MESSAGE sip:bob@example.com", b"MESSAGE sip:bob@example.com;session=%b" % BYTES)],
    "From": [(b"From: <", b'From: "%b" <' % BYTES)],
    "From tag": [(b";tag=", b";tag=%b" % BYTES)],
    "To": [(b"\r\nTo: <", b'\r\nTo: "%b" <' % BYTES)],
    "Call-ID": [(b"Call-ID: ", b"Call-ID: %b" % BYTES)],
    "Accept-Contact": [(b"Accept-Contact: *", b'Accept-Contact: *;x="%b"' % BYTES)],
    "P-Asserted-Identity": [(b"P-Asserted-Identity: <", b'P-Asserted-Identity: "%b" <' % BYTES)],
    "P-Asserted-Identity user": [(b"P-Asserted-Identity: <sip:alice", b"P-Asserted-Identity: <sip:al%b" % BYTES)],
    "Content-Type": [(b"Content-Type: text/plain", b"Content-Type: text/%b;x=%b" % (BYTES, BYTES))],
    "Privacy": [(b"Content-Type", b"Privacy: %b\r\nContent-Type" % BYTES)],
    "Expires": [(b"Content-Type", b"Expires: %b\r\nContent-Type" % BYTES)],
    "Date": [(b"Content-Type", b"Expires: 5\r\nDate: %b\r\nContent-Type" % BYTES)],
    "Subject": [(b"Content-Type", b"Subject: %b\r\nPriority: %b\r\nContent-Type" % (BYTES, BYTES))],
    "any header": [(b"Content-Type", b"X-Any: %b\r\nContent-Type" % BYTES)],
    "From without tag, as in RFC 2543": [(b";tag=", b";no-tag=")],
    "Via parameter": [(b";rport;branch", b";rport;x=%b;branch" % BYTES)],
    "NUL in P-Asserted-Identity": [(b"P-Asserted-Identity: <sip:alice", b"P-Asserted-Identity: <sip:al\0ice")],
    "NUL in a URI parameter": [(b"MESSAGE sip:bob@example.com", b"MESSAGE sip:bob@example.com;session=a\0b")],
    "NUL in Expires": [(b"Content-Type", b"Privacy: i\0d\r\nExpires: 1\0\r\nContent-Type")],
    "escaped NUL in the Request-URI": [(b"MESSAGE sip:bob@", b"MESSAGE sip:b%00b@")],
    "NUL in From": [(b"From: <", b'From: "a\0b" <')],
    "NUL in Call-ID": [(b"Call-ID: ", b"Call-ID: a\0b")],
    "NUL in Accept-Contact": [(b"Accept-Contact: *", b'Accept-Contact: *;x="\0"')],
    "NUL in Content-Type": [(b"Content-Type: text/plain", b"Content-Type: text/pl\0ain")],
    "NUL in Subject": [(b"Content-Type", b"Subject: a\0b\r\nContent-Type")],
    "surrogates in UTF-8": [(b"Content-Type", b"Subject: \xed\xa0\x80\r\nContent-Type")],
    "tab and quotes in Call-ID": [(b"Call-ID: ", b'Call-ID: "\t%n%s$ru')],
    "pseudo-variables": [(b"From: <", b'From: "$var(im_next) %s %n" <')],
    "Date far away": [(b"Content-Type", b"Expires: 5\r\nDate: Fri, 31 Dec 9999 23:59:59 GMT\r\nContent-Type")],
    "Date not of this world": [(b"Content-Type", b"Expires: 5\r\nDate: Xxx, 99 Foo 0000 99:99:99 GMT\r\nContent-Type")],
    "Expires immense": [(b"Content-Type", b"Expires: 99999999999999999999999999\r\nContent-Type")],
    "unclosed quotes": [(b"Accept-Contact: *;+g.oma.sip-im", b'Accept-Contact: *;+g.oma.sip-im;x="')],
    "parentheses": [(b"Accept-Contact: *;+g.oma.sip-im", b"Accept-Contact: *;+g.oma.sip-im;x=" + b"(" * 9000)],
    "commas": [(b"Accept-Contact: *;+g.oma.sip-im", b"Accept-Contact: *;+g.oma.sip-im" + b"," * 9000)],
    "backslashes": [(b"Accept-Contact: *", b'Accept-Contact: *;x="' + b"\\" * 9001 + b'"')],
    "semicolons in Content-Type": [(b"text/plain", b"text/plain" + b";" * 9000)],
    "500 headers": [(b"Content-Type", b"X-Header: 1\r\n" * 500 + b"Content-Type")],
    "100 Via": [(b"Max-Forwards", b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n" * 100 + b"Max-Forwards")],
    "header folded 1,000 times": [(b"Content-Type", b"Subject: a" + b"\r\n a" * 1000 + b"\r\nContent-Type")],
}


@pytest.mark.requirement("SEC-05", "DEF-01")
@pytest.mark.parametrize("name", SPOILED)
def test_bytes_in_headers_do_no_harm(instance: Instance, name: str) -> None:
    """Every header that is read, with bytes that are not UTF-8, NULs and absurd values: taken or refused, at once."""
    assert statuses(instance, message(*SPOILED[name]), 3) in (202, 400, 403, 404, 416, 481, 513)


@pytest.mark.requirement("SEC-05", "PAG-10", "PAG-03")
def test_sizes(instance: Instance) -> None:
    """Headers of 20 KiB, the largest datagram, a body of 120 KiB, and more than Kamailio takes."""
    headers = (b"Content-Type", b"X-Long: " + b"x" * 20_480 + b"\r\nContent-Type")
    assert statuses(instance, message(headers)) == 513
    largest = good("127.0.0.1", 0, body=b"x" * 64_000)
    raw = RawSip(instance.sip_port)
    raw.send(good(raw.address, raw.port, body=b"x" * (65_507 - len(largest) + 64_000 - 10)))
    assert raw.final()[8:11] in (b"403", b"513")
    raw.close()
    with RawTcp(instance.sip_port) as tcp:
        tcp.send(good(tcp.host, tcp.port, "TCP", b"x" * 120 * 1024))
        assert tcp.final()[8:11] in (b"403", b"513")
        assert tcp.ask(im_message("alice", "bob"))[8:11] == b"202", "the connection goes on"
        tcp.send(good(tcp.host, tcp.port, "TCP", b"x" * 2 * MAX_TCP_MESSAGE))
        assert tcp.closed()


@pytest.mark.requirement("SEC-05")
def test_streams(instance: Instance) -> None:
    """On TCP: noise, a header that never ends, a body that never comes, requests in the smallest pieces."""
    with RawTcp(instance.sip_port) as noise:
        noise.send(b"\0\xff" * 5000 + b"\r\n\r\n")
        assert noise.closed() or True
    with RawTcp(instance.sip_port) as endless:
        endless.send(good(endless.host, endless.port, "TCP")[:-100] + b"X: " + b"x" * 2 * MAX_TCP_MESSAGE)
        assert endless.closed()
    with RawTcp(instance.sip_port) as waiting, RawTcp(instance.sip_port) as pieces:
        waiting.send(good(waiting.host, waiting.port, "TCP").replace(b"Length: 5", b"Length: 5000"))
        for byte in good(pieces.host, pieces.port, "TCP"):
            pieces.send(bytes([byte]))
        assert pieces.final()[8:11] == b"202"
        two = [im_message("alice", "bob").bytes(pieces.host, pieces.port, "TCP") for _ in range(2)]
        pieces.send(two[0] + two[1])
        assert waiting.waiting() == b""


REGISTERS = {
    "500 contacts": ", ".join(f"<sip:bob@192.0.2.1:{port}>;+g.oma.sip-im" for port in range(1000, 1500)),
    "no contact": "",
    "star": "*",
    "brackets": "<<<<>>>>;+g.oma.sip-im",
    "open quote": '"<sip:bob@192.0.2.1>;+g.oma.sip-im',
    "quotes": '"' * 5000 + "<sip:bob@192.0.2.1>;+g.oma.sip-im",
    "bytes": "<sip:\xff\xfe@192.0.2.1>;+g.oma.sip-im",
    "long parameter": "<sip:bob@192.0.2.1>;+g.oma.sip-im;x=" + "y" * 8000,
    "long address": "<sip:" + "b" * 3000 + "@192.0.2.1>;+g.oma.sip-im",
}


@pytest.mark.requirement("SEC-05", "COR-07")
@pytest.mark.parametrize("name", REGISTERS)
def test_registrations(instance: Instance, name: str) -> None:
    """Contacts of every wrong kind: an answer, at once."""
    contact = f"Contact: {REGISTERS[name]}"
    raw = RawSip(instance.sip_port)

    def answer(*headers: str) -> bytes:
        carol = address("carol")
        request = Sip("REGISTER", "sip:example.com", carol, (contact, "Expires: 1", *headers), to=carol)
        raw.send(request.bytes(raw.address, raw.port).decode().encode("latin-1", "replace"))
        return raw.final(3)

    reply = answer()
    challenge = re.search(rb"WWW-Authenticate: (.*)\r\n", reply)
    if challenge is not None:
        reply = answer(authorization(challenge[1].decode(), "REGISTER", "sip:example.com", "carol"))
    assert reply[8:11] in (b"200", b"400", b"403", b"500", b"503", b"513")
    raw.close()


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("method", ["INVITE", "SUBSCRIBE", "REFER", "PUBLISH", "ACK", "CANCEL", "PRACK", "NO-SUCH", "IMW"])
def test_other_methods(instance: Instance, method: str) -> None:
    """With the feature tag and without sense."""
    raw = RawSip(instance.sip_port)
    headers = (FEATURE_TAG, f"P-Asserted-Identity: <{address('alice')}>", "Event: \xff", "Refer-To: <<", "Require: x")
    request = Sip(method, address("dave"), address("alice"), headers, b"\xff\0" * 100, branch=unique("z9hG4bK"))
    raw.send(request.bytes(raw.address, raw.port))
    if method not in ("ACK", "CANCEL"):
        assert 400 <= int(raw.final(3)[8:11]) < 600
    raw.close()
