"""A SIP user agent that does only what a test tells it to, and keeps every byte: for peers that no tool plays."""

from __future__ import annotations

import itertools
import re
import secrets
import select
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from im_client.digest import Authenticator, parse_challenges
from im_client.wire import parse
from tests.scenarios.bed import DOMAIN

ACCEPT_CONTACT = "Accept-Contact: *;+g.oma.sip-im;require;explicit"
FEATURE_TAG = "+g.oma.sip-im"
SECONDS = 12.0
"""Longest wait for a message; nothing in a scenario takes longer when it works."""


@dataclass(frozen=True, slots=True)
class Message:
    """A SIP message as received."""

    raw: bytes

    @property
    def head(self) -> str:
        """Start line and headers as text."""
        return self.raw.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")

    @property
    def body(self) -> bytes:
        """What follows the empty line."""
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        """Status code; 0 for a request."""
        return int(self.head.split()[1]) if self.raw.startswith(b"SIP/2.0 ") else 0

    @property
    def reason(self) -> str:
        """Reason phrase of a response."""
        return self.head.partition("\r\n")[0].split(" ", 2)[2]

    @property
    def method(self) -> str:
        """Method; that of CSeq for a response."""
        return self.value("CSeq").split()[-1]

    @property
    def uri(self) -> str:
        """Request-URI."""
        return self.head.split()[1]

    def values(self, name: str) -> list[str]:
        """Each line of that header."""
        return re.findall(rf"^{re.escape(name)}[ \t]*:[ \t]*(.*?)[ \t]*\r?$", self.head, re.MULTILINE | re.IGNORECASE)

    def value(self, name: str) -> str:
        """Its first line, empty when there is none."""
        return next(iter(self.values(name)), "")

    def header_lines(self) -> list[str]:
        """All header lines in order, the start line left out."""
        return self.head.split("\r\n")[1:]


class Agent:
    """One UDP address, one user. Use as a context manager. `address` is a loopback address to be reached at."""

    def __init__(
        self,
        target: int,
        user: str = "",
        *,
        address: str = "127.0.0.1",
        password: str = "",
        host: str = DOMAIN,
        port: int = 0,
    ) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self._credentials = Authenticator(user, password or f"{user}-secret")
        self._requests: deque[Message] = deque()
        self._responses: deque[Message] = deque()
        self._seen: set[tuple[str, str]] = set()
        self._answered: dict[tuple[str, str], bytes] = {}
        """The last response to each request, by its Via and method."""
        self.sent: list[bytes] = []
        self._cseq = itertools.count(1).__next__
        self.target = ("127.0.0.1", target)
        self.user = user
        self.identity = f"sip:{user}@{host}"
        self.address, self.port = self._socket.getsockname()

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    @property
    def contact(self) -> str:
        """The URI this agent is reached at."""
        return f"sip:{self.user or 'agent'}@{self.address}:{self.port}"

    # ---- requests out

    def build(
        self,
        method: str,
        uri: str,
        *headers: str,
        body: bytes = b"",
        sender: str = "",
        to: str = "",
        call_id: str = "",
        branch: str = "",
    ) -> bytes:
        """A request with the headers every request has and `headers` (whole lines)."""
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.address}:{self.port};branch={branch or 'z9hG4bK' + secrets.token_hex(8)}",
            "Max-Forwards: 70",
            f"From: {sender or f'<{self.identity}>'};tag={secrets.token_hex(4)}",
            f"To: {to or f'<{uri}>'}",
            f"Call-ID: {call_id or secrets.token_hex(12)}",
            f"CSeq: {self._cseq()} {method}",
            *headers,
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body

    def within(self, answer: Message, method: str) -> bytes:
        """A request in the dialog that this 2xx to our INVITE has made; an ACK has the number of the INVITE."""
        number = int(answer.value("CSeq").split()[0]) if method == "ACK" else self._cseq()
        contact = re.search(r"<([^>]*)>", answer.value("Contact"))
        assert contact is not None
        lines = [
            f"{method} {contact.group(1)} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.address}:{self.port};branch=z9hG4bK{secrets.token_hex(8)}",
            *(f"Route: {value}" for value in reversed(answer.values("Record-Route"))),
            "Max-Forwards: 70",
            f"From: {answer.value('From')}",
            f"To: {answer.value('To')}",
            f"Call-ID: {answer.value('Call-ID')}",
            f"CSeq: {number} {method}",
            "Content-Length: 0",
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    @staticmethod
    def cancel(invite: bytes) -> bytes:
        """The CANCEL of an INVITE as it was sent (RFC 3261 section 9.1)."""
        kept = ("Via:", "Route:", "Max-Forwards:", "From:", "To:", "Call-ID:", "CSeq:")
        start, *lines = invite.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        lines = [line for line in lines if line.startswith(kept)]
        return "\r\n".join([start, *lines, "Content-Length: 0"]).replace("INVITE", "CANCEL").encode() + b"\r\n\r\n"

    def send(self, data: bytes, target: tuple[str, int] | None = None) -> None:
        """One datagram."""
        self.sent.append(data)
        self._socket.sendto(data, target or self.target)

    def begin(
        self,
        method: str,
        uri: str,
        *headers: str,
        body: bytes = b"",
        sender: str = "",
        to: str = "",
        call_id: str = "",
        challenged: bool = True,
    ) -> str:
        """Send a request, with credentials once a challenge was answered; its Call-ID, for `final`.

        Without `challenged` no challenge is waited for: the request goes through as it is.
        """
        identity = call_id or secrets.token_hex(12)
        options = {"sender": sender, "to": to, "call_id": identity}
        fields = self._authorization(method, uri)
        if not fields and challenged:
            self.send(self.build(method, uri, *headers, body=body, **options))
            response = self.final(identity)
            if response.status not in (401, 407):
                self._responses.append(response)
                return identity
            self._credentials.learn(parse_challenges(parse(response.raw, datagram=True).headers), uri)
            fields = self._authorization(method, uri)
        self.send(self.build(method, uri, *headers, *fields, body=body, **options))
        return identity

    def ask(self, method: str, uri: str, *headers: str, **options: Any) -> Message:
        """`begin`, and the final response; for requests that no other agent has to answer meanwhile."""
        return self.final(self.begin(method, uri, *headers, **options))

    def _authorization(self, method: str, uri: str) -> list[str]:
        fields = self._credentials.headers(method, uri, lambda: secrets.token_hex(8))
        return [f"{name}: {value}" for name, value in fields]

    def forget_challenges(self) -> None:
        """Begin again without a nonce: the server that gave it was restarted."""
        self._credentials = Authenticator(self.user, self._credentials.password)

    def register(self, *contacts: str, expires: int = 600) -> Message:
        """Register `contacts` (whole values), or this agent's address with the feature tag."""
        value = ", ".join(contacts or (f"<{self.contact}>;{FEATURE_TAG}",))
        domain = self.identity.rpartition("@")[2]
        return self.ask("REGISTER", f"sip:{domain}", f"Contact: {value}", f"Expires: {expires}", to=f"<{self.identity}>")

    def begin_message(
        self, user: str, body: bytes = b"Hello", *headers: str, content_type: str = "text/plain", **options: Any
    ) -> str:
        """Send a MESSAGE with the feature tag to a user of the domain, or to a URI; its Call-ID, for `final`."""
        uri = user if user.startswith("sip:") else f"sip:{user}@{DOMAIN}"
        fields = (ACCEPT_CONTACT, f"Content-Type: {content_type}", *headers)
        return self.begin("MESSAGE", uri, *fields, body=body, **options)

    def message(self, user: str, body: bytes = b"Hello", *headers: str, **options: Any) -> Message:
        """`begin_message`, and the final response; for messages that no other agent has to answer meanwhile."""
        return self.final(self.begin_message(user, body, *headers, **options))

    # ---- what comes in

    def final(self, call_id: str = "", seconds: float = SECONDS) -> Message:
        """The next final response, with that Call-ID if one is given."""
        while True:
            response = self._next(self._responses, seconds)
            if response.status >= 200 and call_id in ("", response.value("Call-ID")):
                return response

    def receive(self, method: str = "", seconds: float = SECONDS) -> Message:
        """The next new request, which must be of that method."""
        request = self._next(self._requests, seconds)
        assert method in ("", request.method), request.head
        return request

    def poll(self) -> Message | None:
        """The next new request, if one has come."""
        try:
            return self.receive(seconds=0.001)
        except TimeoutError:
            return None

    def poll_final(self, call_id: str) -> Message | None:
        """The final response with that Call-ID, if it has come."""
        try:
            return self.final(call_id, seconds=0.001)
        except TimeoutError:
            return None

    def outcome(self, call_id: str) -> int:
        """Final status of a request; when it comes back to this agent for delivery, 200 is answered there."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            request = self.poll()
            if request is not None:
                self.reply(request, 200, "OK")
            response = self.poll_final(call_id)
            if response is not None:
                return response.status
            select.select([self], [], [], 0.02)  # what was read beside the other waits in the queue
        raise TimeoutError(f"no answer to {call_id}")

    def quiet(self, seconds: float = 0.5) -> bool:
        """Whether no request comes for that long."""
        try:
            self.receive(seconds=seconds)
        except TimeoutError:
            return True
        return False

    def reply(self, request: Message, status: int, reason: str, *headers: str, body: bytes = b"") -> None:
        """Answer a request along its Via. The ACK to a failure is not shown: it belongs to the transaction."""
        if status >= 300:
            self._seen.add((request.value("Via"), "ACK"))
        tag = "" if ";tag=" in request.value("To") else f";tag={secrets.token_hex(4)}"
        lines = [
            f"SIP/2.0 {status} {reason}",
            *(f"Via: {value}" for value in request.values("Via")),
            *(f"Record-Route: {value}" for value in request.values("Record-Route")),
            f"From: {request.value('From')}",
            f"To: {request.value('To')}{tag}",
            f"Call-ID: {request.value('Call-ID')}",
            f"CSeq: {request.value('CSeq')}",
            *headers,
            f"Content-Length: {len(body)}",
        ]
        data = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        self._answered[request.value("Via"), request.method] = data
        self.send(data)

    def accept(self, method: str = "MESSAGE") -> Message:
        """Take the next request and answer 200."""
        request = self.receive(method)
        self.reply(request, 200, "OK")
        return request

    def _next(self, queue: deque[Message], seconds: float) -> Message:
        deadline = time.monotonic() + seconds
        while not queue:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"nothing for {self.identity} within {seconds} s")
            self._socket.settimeout(left)
            message = Message(self._socket.recv(65535))
            if not message.raw.strip(b"\0\r\n"):
                continue  # keeps the way through a NAT open
            if message.status:
                self._responses.append(message)
                continue
            key = (message.value("Via"), message.method)
            if key not in self._seen:
                self._seen.add(key)
                self._requests.append(message)
            elif key in self._answered:  # a retransmission: our response was lost (RFC 3261 section 17.2)
                self._socket.sendto(self._answered[key], self.target)
        return queue.popleft()
