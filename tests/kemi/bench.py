"""One Kamailio process with the procedures in it, driven like the native routes of `im.cfg` do, and the worker's end of
the link."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from pathlib import Path

from kemi.app import App
from kemi.messages import Answer, Incoming, decode_question, encode_answer
from tests.kemi.ksr_fake import FakeKamailio

KEY = b"a key of thirty-two or more bytes"
TRUSTED, SEPARATE_CORE, SERVES_RECIPIENT = 21, 22, 23
CAPABLE_FLAG, LARGE_FLAG, ADVERTISEMENT_FLAG = 20, 21, 22
FLAGS = {
    "IM_BFLAG_CAPABLE": CAPABLE_FLAG,
    "IM_BFLAG_LARGE": LARGE_FLAG,
    "IM_BFLAG_ADVERTISEMENT": ADVERTISEMENT_FLAG,
    "IM_FLAG_TRUSTED": TRUSTED,
    "IM_FLAG_SEPARATE_CORE": SEPARATE_CORE,
    "IM_FLAG_SERVES_RECIPIENT": SERVES_RECIPIENT,
}
CAPABLE, LARGE, ADVERTISEMENT = 1 << CAPABLE_FLAG, 1 << LARGE_FLAG, 1 << ADVERTISEMENT_FLAG
ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
CALL_ID = "call-1@client"


def sip(
    method: str = "MESSAGE",
    *headers: str | bytes,
    uri: str = BOB,
    branch: str = "z9hG4bK1",
    call_id: str = CALL_ID,
    content: bytes = b"Hello",
    content_type: str | bytes = "text/plain",
) -> bytes:
    """Bytes of a request from alice to bob."""
    lines: list[str | bytes] = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP 192.0.2.1;branch={branch}",
        f"From: <{ALICE}>;tag=tag-1",
        f"To: <{BOB}>",
        f"Call-ID: {call_id}",
        f"CSeq: 7 {method}",
        "Accept-Contact: *;+g.oma.sip-im;explicit",
        b"Content-Type: " + (content_type.encode() if isinstance(content_type, str) else content_type),
        *headers,
        f"Content-Length: {len(content)}",
    ]
    return b"\r\n".join(line.encode() if isinstance(line, str) else line for line in lines) + b"\r\n\r\n" + content


@dataclass
class Clock:
    """The `time` of the modules under test: stands still until moved."""

    now: float = 1000.0
    wall: float = 1_795_219_200.0

    def monotonic(self) -> float:
        """Seconds since some start."""
        return self.now

    def time(self) -> float:
        """Seconds since 1970."""
        return self.wall


@dataclass
class Bench:
    """What a test needs to send a request through the hooks and to answer as the worker."""

    kamailio: FakeKamailio
    app: App
    clock: Clock
    state_dir: Path
    listener: socket.socket | None = None
    connections: list[socket.socket] = field(default_factory=list)

    # ---- The worker ----

    def start_worker(self, revision: int = -1) -> None:
        """Listen for questions, write the key, beat once."""
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(self.state_dir / "question.sock"))
        self.listener.listen()
        self.listener.setblocking(False)
        (self.state_dir / "control.key").write_bytes(KEY + b"\n")
        self.beat(revision)

    def stop_worker(self) -> None:
        """Die: the sockets are gone, the heartbeat is still fresh."""
        for one in (*self.connections, *([self.listener] if self.listener else [])):
            one.close()
        self.connections, self.listener = [], None
        (self.state_dir / "question.sock").unlink(missing_ok=True)

    def packets(self) -> list[Incoming]:
        """All questions that have come in since the last call."""
        assert self.listener is not None
        try:
            self.connections.append(self.listener.accept()[0])
        except BlockingIOError:
            pass
        found = []
        for connection in self.connections:
            connection.setblocking(False)
            try:
                while packet := connection.recv(1 << 20):
                    found.append(decode_question(packet))
            except BlockingIOError:
                pass
        return found

    def question(self) -> Incoming:
        """The one question that has come in."""
        (incoming,) = self.packets()
        return incoming

    def command(self, body: bytes, key: bytes = KEY, method: str = "IMW") -> str:
        """A private request comes in on the control listener; where the native route goes on."""
        head = f"{method} sip:im@127.0.0.1:5090 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKimw\r\n"
        head += "From: <sip:worker@127.0.0.1>;tag=w\r\nTo: <sip:kamailio@127.0.0.1>\r\nCall-ID: im-worker\r\n"
        raw = f"{head}CSeq: 1 {method}\r\n".encode() + b"IM-Key: " + key + b"\r\n\r\n" + body
        self.kamailio.receive(raw, transport="tcp", source=("127.0.0.1", 40000))
        return self.hook("im_control")

    def beat(self, revision: int = -1) -> None:
        """The heartbeat, with the revision of the store."""
        self.command(json.dumps({"do": "beat", "revision": revision}).encode())

    def answer(self, incoming: Incoming, answer: Answer) -> str:
        """Answer a question."""
        assert incoming.transaction is not None
        return self.command(encode_answer(incoming.transaction, answer))

    # ---- The native routes ----

    def receive(
        self,
        raw: bytes | None = None,
        *,
        ao: str = ALICE,
        to: str = BOB,
        transport: str = "tcp",
        trusted: bool = False,
        separate_core: bool = False,
        serves_recipient: bool = True,
    ) -> None:
        """A request comes in, and the routes before the hooks have left what they leave."""
        flags = {TRUSTED: trusted, SEPARATE_CORE: separate_core, SERVES_RECIPIENT: serves_recipient}
        self.kamailio.receive(
            sip() if raw is None else raw, transport=transport, flags={flag for flag, is_set in flags.items() if is_set}
        )
        for name, text in {"im_uri": to, "im_to": to, "im_ao": ao}.items():
            self.kamailio.set_var(name, text)
        self.kamailio.set_var("im_received", int(self.clock.wall))

    def hook(self, name: str) -> str:
        """python_exec and route[IM_NEXT]: the name of the step that follows, `lost` for a resumption that found nothing."""
        self.kamailio.ksr.pv.sets("$var(im_next)", "nothing was said")
        getattr(self.app, name)(None)
        step = str(self.kamailio.var("im_next"))
        if step != "continue":
            return step
        if not self.kamailio.resume((self.kamailio.var("im_index"), self.kamailio.var("im_label"))):
            return "lost"
        return self.hook("im_resume")

    @property
    def statuses(self) -> list[int]:
        """Status of every response so far."""
        return [reply.status for reply in self.kamailio.replies]
