"""A party of a session that keeps its dialog and does only what a test tells it to: every message of it is looked at."""

from __future__ import annotations

import re
import secrets
from typing import Any

from tests.scenarios.agent import ACCEPT_CONTACT, Agent, Message

SDP = "Content-Type: application/sdp"
ALLOW = "Allow: INVITE, ACK, CANCEL, BYE, UPDATE, PRACK, REFER, SUBSCRIBE, NOTIFY"


def described(name: str, *lines: str, version: int = 1, setup: str = "actpass", more: str = "") -> bytes:
    """A description whose MSRP path has that name, and its o= line too; nobody listens there."""
    extra = "".join(f"a={line}\r\n" for line in lines)
    return (
        f"v=0\r\no={name} 7 {version} IN IP4 127.0.0.77\r\ns={name}\r\nc=IN IP4 127.0.0.77\r\nt=0 0\r\n"
        f"m=message 2855 TCP/MSRP *\r\n{extra}a=accept-types:message/cpim text/plain\r\na=setup:{setup}\r\n"
        f"a=path:msrp://127.0.0.77:2855/{name};tcp\r\n{more}"
    ).encode()


def path_of(body: bytes) -> str:
    """The first a=path."""
    found = re.search(rb"^a=path:(.*?)\r?$", body, re.MULTILINE)
    return "" if found is None else found[1].decode()


class Party(Agent):
    """An agent with one dialog at a time, as caller or callee."""

    def __init__(self, *arguments: Any, contact: str = "", **options: Any) -> None:
        """`contact`: parameters of our Contact behind the feature tag."""
        super().__init__(*arguments, **options)
        self._mark = contact
        self._tag = secrets.token_hex(4)
        self._local = self._remote = self._call_id = self._remote_target = ""
        self._routes: list[str] = []
        self._number = 100
        self._invite = b""
        self._invite_number = 0

    @property
    def contact_line(self) -> str:
        """Our whole Contact."""
        return f"Contact: <{self.contact}>;+g.oma.sip-im{self._mark}"

    @property
    def call_id(self) -> str:
        """Of the dialog."""
        return self._call_id

    @property
    def remote_target(self) -> str:
        """URI of the Contact of the other side."""
        return self._remote_target

    # ---- as caller

    def invite(self, uri: str, body: bytes, *headers: str, **options: Any) -> str:
        """Send an INVITE; its Call-ID."""
        self._call_id = self.begin(
            "INVITE", uri, self.contact_line, ALLOW, ACCEPT_CONTACT, SDP, *headers, body=body, **options
        )
        self._invite = next(one for one in reversed(self.sent) if one.startswith(b"INVITE "))
        return self._call_id

    def provisional(self, status: int, seconds: float = 10.0) -> Message:
        """The next provisional response with that status."""
        while True:
            response = self._next(self._responses, seconds)
            assert response.status < 200, response.head
            if response.status == status:
                self._learn(response)
                return response

    def established(self) -> Message:
        """The 200 to our INVITE, acknowledged."""
        answer = self.final(self._call_id)
        assert answer.status == 200, answer.head
        self._learn(answer)
        self.ack(answer)
        return answer

    def ack(self, answer: Message, body: bytes = b"") -> None:
        """The ACK to a 2xx of ours; without a body unless the INVITE had none."""
        kind = (SDP,) if body else ()
        self.send(self._build_within("ACK", int(answer.value("CSeq").split()[0]), *kind, body=body))

    def give_up(self) -> None:
        """CANCEL our INVITE."""
        self.send(self.cancel(self._invite))

    def _learn(self, response: Message) -> None:
        self._local, self._remote = response.value("From"), response.value("To")
        self._routes = list(reversed(response.values("Record-Route")))
        self._remote_target = _uri(response.value("Contact")) or self._remote_target

    # ---- as callee

    def invited(self) -> Message:
        """The INVITE that makes the dialog."""
        request = self.receive("INVITE")
        self._call_id = request.value("Call-ID")
        self._local = f"{request.value('To')};tag={self._tag}"
        self._remote = request.value("From")
        self._routes = request.values("Record-Route")
        self._remote_target = _uri(request.value("Contact"))
        return request

    def answer(self, request: Message, status: int, *headers: str, body: bytes = b"") -> None:
        """Respond to a request; one that makes the dialog gets our tag and Contact."""
        kind = (SDP,) if body else ()
        lines = (self.contact_line, ALLOW, *kind, *headers)
        to = request.value("To")
        if ";tag=" not in to:
            raw = request.raw.replace(f"\r\nTo: {to}\r\n".encode(), f"\r\nTo: {to};tag={self._tag}\r\n".encode())
            request = Message(raw)
        self.reply(request, status, "Whatever", *lines, body=body)

    # ---- both

    def begin_within(self, method: str, *headers: str, body: bytes = b"") -> int:
        """Send a request within the dialog; its CSeq."""
        self._number += 1
        if method in ("INVITE", "UPDATE", "SUBSCRIBE", "REFER"):
            headers = (self.contact_line, *headers)
        if body and not any(one.startswith("Content-Type") for one in headers):
            headers = (SDP, *headers)
        self.send(self._build_within(method, self._number, *headers, body=body))
        if method == "INVITE":
            self._invite = self.sent[-1]
        return self._number

    def outcome_of(self, number: int, seconds: float = 12.0) -> Message:
        """The final response to the request with that CSeq; a 2xx to an INVITE is acknowledged."""
        while True:
            response = self._next(self._responses, seconds)
            if response.status < 200 or int(response.value("CSeq").split()[0]) != number:
                continue
            if response.method == "INVITE" and response.status < 300:
                self.ack(response)
            return response

    def ask_within(self, method: str, *headers: str, body: bytes = b"") -> Message:
        """Both of it: for requests that no other party has to answer meanwhile."""
        return self.outcome_of(self.begin_within(method, *headers, body=body))

    def heard(self, method: str) -> Message:
        """The next request of that method; ACKs in between are dropped."""
        while True:
            request = self.receive()
            if request.method == "ACK" and method != "ACK":
                continue
            assert request.method == method, request.head
            return request

    def within_subscription(self, asked: Message, method: str, *headers: str) -> bytes:
        """A request back to the sender of a SUBSCRIBE or REFER that made a dialog of its own."""
        kept = self._local, self._remote, self._call_id, self._remote_target, self._routes
        self._call_id = asked.value("Call-ID")
        self._local, self._remote = f"{asked.value('To')};tag={self._tag}", asked.value("From")
        self._routes, self._remote_target = asked.values("Record-Route"), _uri(asked.value("Contact"))
        self._number += 1
        request = self._build_within(method, self._number, self.contact_line, *headers)
        self._local, self._remote, self._call_id, self._remote_target, self._routes = kept
        return request

    def _build_within(self, method: str, number: int, *headers: str, body: bytes = b"") -> bytes:
        lines = [
            f"{method} {self._remote_target} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.address}:{self.port};branch=z9hG4bK{secrets.token_hex(8)}",
            *(f"Route: {value}" for value in self._routes),
            "Max-Forwards: 70",
            f"From: {self._local}",
            f"To: {self._remote}",
            f"Call-ID: {self._call_id}",
            f"CSeq: {number} {method}",
            *headers,
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _uri(value: str) -> str:
    found = re.search(r"<([^>]*)>", value)
    return "" if found is None else found[1]
