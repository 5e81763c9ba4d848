"""The MSRP plane of a bridged session through new offers and answers, over real connections (PFS-05, MED-02)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from msrp_worker import sdp
from msrp_worker.msrp import EndpointConfig, MessageStream, MsrpEndpoint, Session, parse_path, reported
from msrp_worker.msrp.handler import SessionHandler
from msrp_worker.msrp.hop import Hop, HopPolicy
from msrp_worker.msrp.incoming import IncomingMessage
from msrp_worker.offer_answer import Refusal
from msrp_worker.participating.media import BridgedMedia
from msrp_worker.participating.renaming import LARGEST_RENAMED, renamed
from msrp_worker.participating.terms import End
from msrp_worker.sdp import Origin
from tests.msrp_worker.msrp.conftest import until

SECONDS = 5.0


class Watching(HopPolicy):
    """Keeps what passes."""

    def __init__(self) -> None:
        self.seen = b""

    def data(self, hop: Hop, sender: Session, message: IncomingMessage, data: bytes) -> int | None:
        self.seen += data
        return None


class Client:
    """One side: an endpoint, and the session of its latest description."""

    def __init__(self, endpoint: MsrpEndpoint) -> None:
        self.endpoint = endpoint
        self.version = 0
        self.new_path()

    def new_path(self) -> None:
        self.stream = MessageStream()
        self.session = self.endpoint.new_session(self.stream, host="127.0.0.1")

    def describe(self, setup: str, *lines: str) -> sdp.SessionDescription:
        self.version += 1
        extra = "".join(f"a={line}\r\n" for line in lines)
        return sdp.parse(
            f"v=0\r\no=- 1 {self.version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=message {self.session.local.port} TCP/MSRP *\r\n{extra}a=accept-types:*\r\na=setup:{setup}\r\n"
            f"a=path:{self.session.local_text}\r\n".encode()
        )

    async def connect(self, description: sdp.SessionDescription) -> None:
        """As the active side of what the other side described."""
        self.session.set_remote(parse_path(description.media[0].attribute("path") or ""))
        await self.endpoint.connect(self.session)

    async def read(self) -> bytes:
        async with asyncio.timeout(SECONDS):
            async for message in self.stream:
                return await message.read()
        raise AssertionError(self.stream.ended)

    async def tell(self, text: bytes) -> int:
        """Send a message; the status of the receiver's report."""
        message = self.session.send(text, "text/plain", success_report=True)
        async with asyncio.timeout(SECONDS):
            return await reported(message)


@asynccontextmanager
async def endpoint() -> AsyncIterator[MsrpEndpoint]:
    made = MsrpEndpoint(EndpointConfig(listen="127.0.0.1", port=0, tls_port=None))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


class Bed:
    """Alice and Bob with the server between them."""

    def __init__(self, server: MsrpEndpoint, alice: MsrpEndpoint, bob: MsrpEndpoint) -> None:
        self.lost: list[str] = []
        self.watching = Watching()
        self.tasks: list[asyncio.Task[None]] = []
        self.server = server
        self.media = BridgedMedia(
            server,
            "127.0.0.1",
            lambda: Origin("-", "5", 5, "127.0.0.1"),
            lambda work: self.tasks.append(asyncio.create_task(work)),
            observer=self.watching,
            on_lost=self.lost.append,
        )
        self.alice, self.bob = Client(alice), Client(bob)

    async def exchange(self, by: End, setup: str = "actpass", *lines: str, answer_from: str = "active") -> None:
        """An offer and its answer; both clients connect where that is theirs to do and the path is new."""
        near, far = (self.alice, self.bob) if by is End.CALLER else (self.bob, self.alice)
        across = self.media.propose(by, near.describe(setup, *lines))
        assert not isinstance(across, Refusal), across
        if self.media.changes_across:
            if not far.session.remote:
                await far.connect(across)  # its 200 and its connection cross: the connection may be first
                far.session.send(b"ahead of the answer", "text/plain")
            back = self.media.agree(far.describe(answer_from))
        else:
            back = self.media.agree()
        assert not isinstance(back, Refusal), back
        if not near.session.remote:
            await near.connect(back)


@pytest.fixture
async def bed() -> AsyncIterator[Bed]:
    async with endpoint() as server, endpoint() as alice, endpoint() as bob:
        made = Bed(server, alice, bob)
        await made.exchange(End.CALLER)
        yield made
        made.media.close("test over")


@pytest.mark.requirement("PFS-02", "MED-02")
async def test_what_overtakes_the_answer_arrives(bed: Bed) -> None:
    """The callee connects and talks before its 200 has been read: nothing of it is lost."""
    assert await bed.alice.read() == b"ahead of the answer"
    assert await bed.alice.tell(b"hello") == 200
    assert await bed.bob.read() == b"hello"


@pytest.mark.requirement("PFS-05", "MED-02")
@pytest.mark.parametrize("by", list(End))
async def test_messages_pass_after_one_side_has_moved(bed: Bed, by: End) -> None:
    """A new path is a new MSRP session there; the other side keeps its own and notices nothing."""
    assert await bed.alice.read() == b"ahead of the answer"
    mover, stayer = (bed.alice, bed.bob) if by is End.CALLER else (bed.bob, bed.alice)
    kept, link = stayer.session, stayer.session.link
    old = mover.session
    mover.new_path()
    await bed.exchange(by)
    assert await mover.tell(b"from the new place") == 200
    assert await stayer.read() == b"from the new place"
    assert await stayer.tell(b"to the new place") == 200
    assert await mover.read() == b"to the new place"
    assert stayer.session is kept and kept.link is link
    late = old.send(b"x", "text/plain", failure_report="yes")
    await until(lambda: late.status is not None)
    assert late.status == 481
    assert bed.lost == []


@pytest.mark.requirement("PFS-05")
async def test_hold_keeps_the_connections(bed: Bed) -> None:
    assert await bed.alice.read() == b"ahead of the answer"
    links = bed.alice.session.link, bed.bob.session.link
    await bed.exchange(End.CALLEE, "actpass", "sendonly")
    assert await bed.bob.tell(b"one way") == 200
    assert await bed.alice.read() == b"one way"
    assert (bed.alice.session.link, bed.bob.session.link) == links


@pytest.mark.requirement("PFS-05", "MED-02")
async def test_a_message_under_way_to_a_path_that_is_given_up_is_reported(bed: Bed) -> None:
    """Alice moves while a message for her old place has no answer: Bob is told, not left alone."""
    assert await bed.alice.read() == b"ahead of the answer"
    bed.alice.session.handler = Silent()
    message = bed.bob.session.send(b"lost?", "text/plain", success_report=True)
    await until(lambda: message.status is not None)
    bed.alice.new_path()
    await bed.exchange(End.CALLER)
    async with asyncio.timeout(SECONDS):
        assert await reported(message) == 408


class Silent(SessionHandler):
    """Never answers."""

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        return -1  # DEFERRED


@pytest.mark.requirement("PFS-14")
async def test_an_observer_sees_all_content(bed: Bed) -> None:
    assert await bed.alice.read() == b"ahead of the answer"
    bed.alice.new_path()
    await bed.exchange(End.CALLER)
    assert await bed.alice.tell(b" and after it") == 200
    assert bed.watching.seen == b"ahead of the answer and after it"


@pytest.mark.requirement("PFS-09")
async def test_the_end_of_one_connection_is_the_end_of_the_session(bed: Bed) -> None:
    """Without any stream left the owner hears of it, once."""
    assert await bed.alice.read() == b"ahead of the answer"
    await bed.alice.endpoint.stop()
    await until(lambda: bool(bed.lost))
    assert len(bed.lost) == 1
    assert len(bed.server.registry) == 0


OURS, THEIRS = "sip:im-leg-1@192.0.2.9:5060", "sip:room@focus.example.org;transport=tcp"


def envelope(to: str, content: bytes = b"hello") -> bytes:
    """A message/cpim to the conference."""
    head = f"From: Bob <sip:bob@example.com>\r\nTo: <{to}>\r\n\r\nContent-Type: text/plain\r\n\r\n"
    return head.encode() + content


@pytest.mark.requirement("PFS-11", "PFS-06")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (envelope(OURS), envelope(THEIRS)),
        (envelope(OURS, f"To: <{OURS}>".encode()), envelope(THEIRS, f"To: <{OURS}>".encode())),
        (envelope(OURS).replace(b"To: ", b'To: "The room" '), envelope(THEIRS).replace(b"To: ", b'To: "The room" ')),
        (envelope(OURS).replace(b"From: Bob <sip:bob@example.com>", f"Subject: <{OURS}>".encode()), None),
        (envelope("sip:im-leg-12@192.0.2.9:5060"), envelope("sip:im-leg-12@192.0.2.9:5060")),
        (envelope(OURS).partition(b"\r\n\r\n")[0], envelope(OURS).partition(b"\r\n\r\n")[0]),
        (b"", b""),
    ],
)
def test_only_the_envelope_is_renamed(before: bytes, after: bytes | None) -> None:
    subject = envelope(THEIRS).replace(b"From: Bob <sip:bob@example.com>", f"Subject: <{OURS}>".encode())
    expected = subject if after is None else after
    assert renamed(before, OURS, THEIRS) == expected


@pytest.mark.requirement("PFS-11", "PFS-06")
@pytest.mark.parametrize("size", [5, 40_000])
async def test_each_side_calls_the_conference_as_it_knows_it(bed: Bed, size: int) -> None:
    """The focus is Bob's side; its messages name it as the client knows it, whatever number of chunks they come in."""
    assert await bed.alice.read() == b"ahead of the answer"
    bed.media.name_focus(End.CALLEE, OURS, THEIRS)
    content = b"x" * size
    for sender, reader, sent, read in ((bed.alice, bed.bob, OURS, THEIRS), (bed.bob, bed.alice, THEIRS, OURS)):
        message = sender.session.send(envelope(sent, content), "message/cpim", success_report=True)
        assert await reader.read() == envelope(read, content)
        async with asyncio.timeout(SECONDS):
            assert await reported(message) == 200


@pytest.mark.requirement("PFS-11")
async def test_what_is_too_long_to_be_collected_passes_as_it_is(bed: Bed) -> None:
    assert await bed.alice.read() == b"ahead of the answer"
    bed.media.name_focus(End.CALLEE, OURS, THEIRS)
    body = envelope(OURS, b"x" * 2 * LARGEST_RENAMED)
    bed.alice.session.send(body, "message/cpim")
    assert await bed.bob.read() == body
