"""Two links wired to each other in memory, and a handler that writes down what it is told."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from msrp_worker.msrp.codec import Parser
from msrp_worker.msrp.frames import Data, End, Event, Request, Response
from msrp_worker.msrp.handler import SessionHandler
from msrp_worker.msrp.incoming import IncomingMessage
from msrp_worker.msrp.link import Link
from msrp_worker.msrp.options import DEFAULT_OPTIONS, SessionOptions
from msrp_worker.msrp.outgoing import OutgoingMessage
from msrp_worker.msrp.registry import Registry
from msrp_worker.msrp.session import Session
from msrp_worker.msrp.uri import parse_path, parse_uri

ALICE = "msrp://atlanta.example.com:7654/jshA7weztas;tcp"
BOB = "msrp://biloxi.example.com:12763/kjhd37s2s20w2a;tcp"


def counting(prefix: str) -> Iterator[str]:
    """Predictable identifiers."""
    return (f"{prefix}{n:04d}" for n in itertools.count(1))


class Recorder(SessionHandler):
    """Writes every call down in `log`; `replies` maps a method name to what it returns."""

    def __init__(self, **replies: int) -> None:
        self.replies = replies
        self.log: list[tuple[object, ...]] = []
        self.messages: list[IncomingMessage] = []
        self.bodies: dict[str, bytes] = {}
        self.outcomes: dict[str, tuple[int | None, str | None]] = {}
        self.reports: list[Request] = []

    def names(self) -> list[str]:
        return [str(entry[0]) for entry in self.log]

    def _note(self, *entry: object) -> int | None:
        self.log.append(entry)
        return self.replies.get(str(entry[0]))

    def bound(self, session: Session) -> None:
        self._note("bound")

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        self.messages.append(message)
        self.bodies[message.message_id] = body
        return self._note("message", message.content_type, body)

    def begin(self, session: Session, message: IncomingMessage) -> int | None:
        self.messages.append(message)
        self.bodies[message.message_id] = b""
        return self._note("begin", message.content_type)

    def data(self, session: Session, message: IncomingMessage, data: bytes) -> int | None:
        assert message.position == len(self.bodies[message.message_id])
        assert data
        self.bodies[message.message_id] += data
        return self._note("data", len(data))

    def end(self, session: Session, message: IncomingMessage) -> int | None:
        return self._note("end")

    def aborted(self, session: Session, message: IncomingMessage, reason: str) -> None:
        self._note("aborted", reason)

    def done(self, session: Session, message: OutgoingMessage) -> None:
        assert message.message_id not in self.outcomes
        self.outcomes[message.message_id] = (message.status, message.comment)
        self._note("done", message.status)

    def report(self, session: Session, report: Request, message: OutgoingMessage | None) -> None:
        self.reports.append(report)
        self._note("report", report.status.code if report.status else None, message is not None)

    def request(self, session: Session, request: Request) -> int | None:
        reply = self._note("request", request.method)
        return super().request(session, request) if reply is None else reply

    def writable(self, session: Session) -> None:
        self._note("writable")

    def closed(self, session: Session, reason: str) -> None:
        self._note("closed", reason)


class Shell:
    """The owner of a link that needs none: the test itself takes the output."""

    def __init__(self) -> None:
        self.held = False

    def wake(self) -> None:
        pass

    def hold(self, on: bool) -> None:
        self.held = on


class Side:
    """One end: a registry, a link and a session with its recorder."""

    def __init__(
        self,
        own: str,
        peer: str,
        options: SessionOptions = DEFAULT_OPTIONS,
        prefix: str = "id",
        **replies: int,
    ) -> None:
        self.registry = Registry()
        self.idents = counting(prefix)
        self.recorder = Recorder(**replies)
        self.session = Session(parse_uri(own), self.recorder, self.idents, options)
        self.registry.add(self.session)
        if peer:
            self.session.set_remote(parse_path(peer))
        self.shell = Shell()
        self.link = self.new_link()
        self.sent = b""
        """Everything this side wrote."""

    def new_link(
        self, peer_address: str = "192.0.2.1", *, single_frames: bool = False, secure: bool = False
    ) -> Link:
        return Link(
            self.registry,
            self.idents,
            self.shell,
            peer_address=peer_address,
            single_frames=single_frames,
            secure=secure,
        )

    def take(self, now: float = 0.0) -> bytes:
        data = b"".join(self.link.take(now))
        self.sent += data
        return data

    def feed(self, data: bytes, now: float = 0.0) -> bytes:
        """Give bytes of the peer to this side; return all that it writes."""
        self.link.receive(data, now)
        out = b""
        while piece := self.take(now):
            out += piece
        return out

    def frames(self) -> list[Event]:
        """What this side wrote so far, as frames with their bodies."""
        return parse_frames(self.sent)


class Pair:
    """Alice, who opened the connection, and Bob. Both know each other's path."""

    def __init__(
        self,
        alice: SessionOptions = DEFAULT_OPTIONS,
        bob: SessionOptions = DEFAULT_OPTIONS,
        bob_replies: dict[str, int] | None = None,
    ) -> None:
        self.alice = Side(ALICE, BOB, alice, "aaaa")
        self.bob = Side(BOB, ALICE, bob, "bbbb", **(bob_replies or {}))
        self.alice.session.bind(self.alice.link)
        self.now = 0.0

    def step(self) -> bool:
        """Move what each side has for one write to the other; False if there was nothing."""
        to_bob = self.alice.take(self.now)
        to_alice = self.bob.take(self.now)
        if to_bob:
            self.bob.link.receive(to_bob, self.now)
        if to_alice:
            self.alice.link.receive(to_alice, self.now)
        return bool(to_bob or to_alice)

    def settle(self) -> None:
        """Move bytes until nobody has anything to say."""
        while self.step():
            pass


def parse_frames(data: bytes) -> list[Event]:
    """Frames with their bodies, from bytes that end with a frame."""
    frames: list[Event] = []
    for event in Parser().feed(data):
        if isinstance(event, Data | End):
            last = frames[-1]
            assert isinstance(last, Request)
            if isinstance(event, Data):
                last.body = (last.body or b"") + event.data
            else:
                last.body = last.body or b""
                last.flag = event.flag
        else:
            frames.append(event)
    return frames


def sends(data: bytes) -> list[Request]:
    """The SENDs among the frames."""
    return [event for event in parse_frames(data) if isinstance(event, Request) and event.method == "SEND"]


def responses(data: bytes) -> list[tuple[str, int]]:
    """Transaction id and code of the responses among the frames."""
    return [(event.transaction_id, event.code) for event in parse_frames(data) if isinstance(event, Response)]
