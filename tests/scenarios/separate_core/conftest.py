"""An S-CSCF in front of the IM server: it sends to the two ports from a trusted address and takes back what returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT, Agent
from tests.scenarios.bed import Instance

CORE_ADDRESS = "127.0.0.2"
ODI = "original-dialog-7"


class Core(Agent):
    """The S-CSCF."""

    def __init__(self, instance: Instance, port: int = 0) -> None:
        config = instance.deployment.config
        super().__init__(config.originating_port, "scscf", address=CORE_ADDRESS, port=port)
        self.originating, self.terminating = config.originating_port, config.terminating_port

    def to(
        self, port: int, method: str, uri: str, *lines: str, asserted: str = "", tag: bool = True, **options: Any
    ) -> str:
        """Send a request to one of the two sides with the Route that brings it back here; its Call-ID."""
        self.target = ("127.0.0.1", port)
        fields = [f"Route: <sip:127.0.0.1:{port};lr>, <sip:{ODI}@{self.address}:{self.port};lr>"]
        if asserted:
            fields.append(f"P-Asserted-Identity: <{asserted}>")
            options.setdefault("sender", f"<{asserted}>")
        if tag:
            fields.append(ACCEPT_CONTACT)
        if options.get("body"):
            fields.append("Content-Type: text/plain")
        return self.begin(method, uri, *fields, *lines, challenged=False, **options)

    def fate(self, sender: str, recipient: str) -> int:
        """A message to the terminating side: 200 when it came back to be delivered, 202 when it was stored."""
        uri, asserted = f"sip:{recipient}@example.com", f"sip:{sender}@example.com"
        return self.outcome(self.to(self.terminating, "MESSAGE", uri, asserted=asserted, body=b"Hello"))

    def tell(self, user: str, *lines: str, expires: int | None = 600, body: bytes = b"") -> int:
        """A third-party REGISTER about a user; the status of its response."""
        self.target = ("127.0.0.1", self.terminating)
        uri = f"sip:127.0.0.1:{self.terminating}"
        fields = [f"Contact: <{self.contact}>", *lines]
        if expires is not None:
            fields.append(f"Expires: {expires}")
        to = f"<sip:{user}@example.com>"
        response = self.ask("REGISTER", uri, *fields, body=body, to=to, challenged=False)
        if response.status == 200:
            assert response.values("Expires") == [str(expires)]
        return response.status


@pytest.fixture
def core(instance: Instance) -> Iterator[Core]:
    """The S-CSCF of one test."""
    agent = Core(instance)
    with agent:
        yield agent
