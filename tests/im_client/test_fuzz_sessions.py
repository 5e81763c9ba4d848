"""Whatever comes in a session, a subscription or a store, the permitted outcomes are few."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from sipmessage import Headers, Request

from im_client import deferred, dialog, message_summary, refer, replaces, service_settings, session_timer, subscription
from im_client.body import Body, find
from im_client.call import State, What, step
from im_client.client import ImClient
from im_client.config import ClientConfig
from im_client.errors import MalformedMessageError
from im_client.reliable import Sent, acknowledge
from im_client.transport import Target
from im_client.wire import parse, parse_uri
from tests.im_client.relay import FAST

TEXT = st.one_of(st.text(max_size=60), st.text(alphabet="0123456789;=uacs tag-rfom", max_size=60))
PIECES = st.lists(
    st.sampled_from(
        [
            *(b"Messages-Waiting: yes\r\n", b"Text-Message: 1/0\r\n", b"\r\n", b"To: a\r\n", b" x\r\n", b":\r\n", b"\n"),
            *(b"MSRP a SEND\r\n", b"MESSAGE sip:a@h SIP/2.0\r\n", b"-------a$\r\n", b"--b\r\n", b"--b--\r\n"),
            *(b"Content-Type: message/sip\r\n", b"Content-Length: 9999\r\n", b"\xff", b"SIP/2.0 200 OK", b"(1/0)"),
        ]
    ),
    max_size=12,
).map(b"".join)
BYTES = st.one_of(st.binary(max_size=120), PIECES)


@given(BYTES)
def test_summaries(data: bytes) -> None:
    with contextlib.suppress(MalformedMessageError):
        found = message_summary.parse(data)
        assert all(one.headers for one in found.messages)


@given(
    BYTES, st.sampled_from(["message/sip", "message/sipfrag", "message/msrp", "multipart/mixed;boundary=b", "text/plain"])
)
def test_deferred_messages(data: bytes, kind: str) -> None:
    with contextlib.suppress(MalformedMessageError):
        for one in deferred.decode(kind, data):
            assert one.stored is None or one.stored.tzinfo is not None or one.stored < datetime.now(UTC)


@given(BYTES)
def test_settings_and_bodies(data: bytes) -> None:
    with contextlib.suppress(MalformedMessageError):
        service_settings.parse(data)
    assert isinstance(find(Body("multipart/mixed;boundary=b", data), "application/sdp"), bytes)


@given(TEXT, TEXT)
def test_fields(one: str, other: str) -> None:
    headers = Headers()
    for name, value in (("Session-Expires", one), ("Min-SE", other), ("Supported", other), ("Require", one)):
        headers.add(name, value)
    session_timer.parse_session_expires(headers)
    session_timer.parse_min_se(headers)
    session_timer.grant(session_timer.SessionTimer(), session_timer.TimerPolicy(), headers, 0.0)
    subscription.parse_state(one)
    found = replaces.parse(one)
    assert found is None or all(found.dialog)
    prack = Request("PRACK", parse_uri("sip:a@h"), one.encode("utf-8", "replace"))
    prack.headers.add("RAck", one)
    prack.headers.add("Content-Type", "message/sipfrag")
    acknowledge(Sent(1, 1, False), prack)
    refer.progress(prack)


@given(BYTES, TEXT)
def test_dialogs(data: bytes, text: str) -> None:
    try:
        message = parse(data + b"\r\nContact: " + text.encode("utf-8", "replace") + b"\r\n\r\n", datagram=True)
        assert isinstance(message, Request)
        made = dialog.of_callee(message, "tag")
    except (MalformedMessageError, AssertionError):
        return
    dialog.next_hop(made)


@given(st.lists(st.sampled_from(What), max_size=12), st.sampled_from([State.INVITING, State.RECEIVED]))
def test_a_call_ends_once_whatever_happens(happening: list[What], state: State) -> None:
    ends = 0
    for what in happening:
        before, (state, doing) = state, step(state, what)
        ends += state is State.ENDED and before is not State.ENDED
        assert before is not State.ENDED or state is State.ENDED
        assert len(set(doing)) == len(doing)
    assert ends <= 1


HEADS = [b"INVITE", b"ACK", b"CANCEL", b"BYE", b"UPDATE", b"PRACK", b"NOTIFY", b"SUBSCRIBE"]
LINES = [
    b"To: <sip:a@h>\r\n",
    b"To: <sip:a@h>;tag=x\r\n",
    b"Contact: <sip:b@127.0.0.1:9>\r\n",
    b"Contact: *\r\n",
    b"Replaces: 1;to-tag=2;from-tag=3\r\n",
    b"Require: 100rel\r\n",
    b"Session-Expires: 1\r\nSupported: timer\r\n",
    b"RAck: 1 1 INVITE\r\n",
    b"Event: refer\r\nSubscription-State: active\r\n",
    b"Content-Type: application/sdp\r\n",
    b"Record-Route: <sip:127.0.0.1:9;lr>\r\n",
    b"Record-Route: junk\r\n",
]


class Failures(logging.Handler):
    """What was logged as an error: a handler that raised, or did not answer."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.getMessage()} {record.exc_info}")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(HEADS), st.lists(st.sampled_from(LINES), max_size=6), st.booleans()), max_size=8))
def test_a_client_survives_any_requests(requests: list[tuple[bytes, list[bytes], bool]]) -> None:
    """Each is answered or dropped; the client still answers OPTIONS after them, and nothing hangs."""

    async def run() -> None:
        failures = Failures()
        logging.getLogger("im_client").addHandler(failures)
        client = ImClient(ClientConfig(identity="sip:alice@example.com", proxy=Target("127.0.0.1", 9), timers=FAST))
        await client.start()
        loop = asyncio.get_running_loop()
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        class Sink(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                answers.put_nowait(data)

        socket, _ = await loop.create_datagram_endpoint(Sink, local_addr=("127.0.0.1", 0))
        port = socket.get_extra_info("sockname")[1]

        def send(method: bytes, number: int, lines: list[bytes], body: bytes) -> None:
            head = b"%s sip:alice@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK%d\r\n" % (
                method,
                port,
                number,
            )
            head += b"From: <sip:b@h>;tag=f\r\nCall-ID: c\r\nCSeq: %d %s\r\nMax-Forwards: 70\r\n" % (number, method)
            socket.sendto(head + b"".join(lines) + b"Content-Length: %d\r\n\r\n" % len(body) + body, client.endpoint.local)

        try:
            for number, (method, lines, body) in enumerate(requests, 1):
                send(method, number, lines, b"v=0\r\n" if body else b"")
            send(b"OPTIONS", 1000, [b"To: <sip:a@h>\r\n"], b"")
            async with asyncio.timeout(5):
                while b"1000 OPTIONS" not in await answers.get():
                    pass
        finally:
            await client.close(deregister=False)
            socket.close()
            logging.getLogger("im_client").removeHandler(failures)
        assert failures.texts == []

    asyncio.run(run())
