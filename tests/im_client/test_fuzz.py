"""Whatever the network sends, the permitted outcomes are few."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from sipmessage import URI, Headers, Request

from im_client import composing, multipart, recipients
from im_client.digest import parse_challenges
from im_client.endpoint import Endpoint, EndpointSettings
from im_client.errors import MalformedMessageError
from im_client.framing import Framer
from im_client.pager import PagerMessage
from im_client.transport import Target, UdpSocket
from im_client.wire import encode, parse, parse_name_addr, parse_uri, parse_vias

PIECES = [
    b"MESSAGE sip:a@h SIP/2.0\r\n",
    b"SIP/2.0 200 OK\r\n",
    b"Via: SIP/2.0/UDP h:1;branch=z9hG4bK1\r\n",
    b"v: SIP/2.0/TCP [::1];rport\r\n",
    b"Via: ",
    b"From: <sip:a@h>;tag=1\r\n",
    b"To: <sip:b@h>\r\n",
    b"To: ",
    b"Call-ID: 1\r\nCSeq: 1 MESSAGE\r\n",
    b"CSeq: 1 ACK\r\n",
    b"Content-Length: 3\r\n",
    b"l: ",
    b"\r\n\r\n",
    b"\r\n ",
    b";self=1",
    b'"',
    b"<",
    b"\xff",
    b"\0",
    b"x",
]
WIRE = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=16).map(b"".join))
TEXT = st.one_of(st.text(max_size=60), st.text(alphabet='sip:@<>;=",\\ a1/.', max_size=60))


@given(WIRE)
def test_parse_gives_a_message_or_malformed(data: bytes) -> None:
    try:
        message = parse(data, datagram=True)
    except MalformedMessageError as error:
        assert error.status in (400, 416)
        return
    assert parse(encode(message), datagram=True).body == message.body


@given(WIRE, st.integers(1, 7))
def test_framer_cuts_the_same_messages_from_any_pieces(data: bytes, size: int) -> None:
    def run(pieces: list[bytes]) -> tuple[list[object], bool]:
        framer, items = Framer(), []
        for piece in pieces:
            try:
                items += framer.feed(piece)
            except MalformedMessageError:
                return items, True
        return items, False

    whole, broken = run([data])
    pieces, broken_too = run([data[start : start + size] for start in range(0, len(data), size)])
    assert broken == broken_too
    assert pieces[: len(whole)] == whole


@given(TEXT)
def test_header_readers_give_a_value_or_malformed(text: str) -> None:
    headers = Headers()
    for name in ("Via", "WWW-Authenticate"):
        headers.add(name, text)
    for read in (
        lambda: parse_name_addr(text),
        lambda: parse_vias(headers),
        lambda: parse_challenges(headers),
    ):
        try:
            read()
        except MalformedMessageError:
            continue


DATES = st.from_regex(r"[A-Z]?[a-z]{0,3},? ?[0-9]{1,12} [A-Z][a-z]{2} [0-9]{1,12} [0-9:]{0,9} [-+A-Z0-9]{0,9}")


@given(st.one_of(TEXT, DATES), st.one_of(TEXT, st.integers(0, 10**12).map(str)))
def test_a_message_can_always_be_looked_at(text: str, expires: str) -> None:
    request = Request("MESSAGE", URI("sip", "h"))
    for name in ("From", "To", "Call-ID", "P-Asserted-Identity", "Content-Type", "Date"):
        request.headers.add(name, text)
    request.headers.add("Expires", expires)
    message = PagerMessage(request, b"", datetime.now(tz=UTC))
    looked_at = [getattr(message, name) for name in dir(PagerMessage) if not name.startswith("_")]
    assert looked_at


@given(TEXT)
def test_uris_give_a_value_or_valueerror(text: str) -> None:
    try:
        parse_uri(text)
    except ValueError:
        return


@given(TEXT, WIRE)
def test_bodies_give_a_value_or_malformed(kind: str, body: bytes) -> None:
    for read in (
        lambda: multipart.split(f"multipart/mixed;boundary=x{kind}", body),
        lambda: recipients.parse_list(body),
        lambda: composing.parse(body),
    ):
        try:
            read()
        except MalformedMessageError:
            continue


class Silent(UdpSocket):
    """A socket that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, data: bytes, remote: tuple[str, int]) -> None:
        assert 0 < remote[1] <= 65535
        self.sent.append(data)


@settings(deadline=None)
@given(st.lists(WIRE, max_size=4))
def test_endpoint_answers_or_drops(datagrams: list[bytes]) -> None:
    async def run() -> None:
        endpoint = Endpoint(EndpointSettings(proxy=Target("127.0.0.1", 9)))
        socket = Silent()
        for data in datagrams:
            endpoint.on_message(data, socket.flow(("127.0.0.1", 9)))
        for data in socket.sent:
            assert parse(data, datagram=True).code >= 400
        await endpoint.close()

    asyncio.run(run())
