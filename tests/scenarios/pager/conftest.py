"""What the pager mode scenarios share: sending with SIPp and looking at the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scenarios.bed import Instance, free_port, header, messages, status
from tests.scenarios.evidence import final_response, warning

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a MESSAGE."""

    status: int
    warning: str
    call_id: str
    response: str


@pytest.fixture
def send(instance: Instance) -> Callable[..., Sent]:
    """Sends one MESSAGE with send_with.xml: `send(sender, recipient, header=…, content_type=…, body=…)`."""

    def run(
        sender: str,
        recipient: str,
        *,
        header_line: str = "Subject: test",
        content_type: str = "text/plain",
        body: str = "Hello",
        transport: str = "u1",
    ) -> Sent:
        keys = {"header": header_line, "type": content_type, "body": body}
        trace = instance.sipp(HERE / "send_with.xml", user=sender, service=recipient, keys=keys, transport=transport).wait()
        response = final_response(trace)
        return Sent(status(response), warning(response), header(messages(trace)[0], "Call-ID")[0], response)

    return run


@pytest.fixture
def device(instance: Instance) -> Callable[[str], int]:
    """Registers a user with register.xml; the port at which its device is to be started."""

    def register(user: str) -> int:
        port = free_port()
        instance.sipp(HERE / "register.xml", user=user, port=port, keys={"expires": "600"}).wait()
        return port

    return register
