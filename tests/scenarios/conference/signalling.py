"""SIP of conferences byte by byte: agents that invite and are invited, with MSRP lines that nobody connects to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.scenarios.agent import ACCEPT_CONTACT, FEATURE_TAG, Agent, Message
from tests.scenarios.bed import DOMAIN, Instance
from tests.scenarios.conference.conference import FACTORY, address

REQUIRE = "Require: recipient-list-invite"


def sdp(
    *attributes: str,
    types: str = "message/cpim",
    wrapped: str = "*",
    setup: str = "",
    version: int = 1,
    path: str = "msrp://127.0.0.1:9999/abcdefgh;tcp",
) -> bytes:
    """A description with one MSRP line; without `setup` the offerer connects, so that nobody is connected to."""
    lines = [
        "v=0",
        f"o=- 1 {version} IN IP4 127.0.0.1",
        "s=-",
        "c=IN IP4 127.0.0.1",
        "t=0 0",
        "m=message 9999 TCP/MSRP *",
        f"a=accept-types:{types}",
        *([f"a=accept-wrapped-types:{wrapped}"] if wrapped else []),
        *([f"a=setup:{setup}"] if setup else []),
        f"a=path:{path}",
        *attributes,
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()


ANSWER = sdp(setup="active")


def resource_list(uris: Sequence[str]) -> bytes:
    """A flat list of URIs."""
    entries = "".join(f'<entry uri="{uri}"/>' for uri in uris)
    return (
        '<?xml version="1.0"?><resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">'
        f"<list>{entries}</list></resource-lists>"
    ).encode()


def with_list(description: bytes, document: bytes) -> tuple[str, bytes]:
    """Content-Type line and body of a description with a recipient-list."""
    body = (
        b"--bound\r\nContent-Type: application/sdp\r\n\r\n" + description + b"\r\n--bound\r\n"
        b"Content-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n\r\n"
        + document
        + b"\r\n--bound--\r\n"
    )
    return 'Content-Type: multipart/mixed;boundary="bound"', body


def begin(agent: Agent, uri: str, *headers: str, body: bytes | None = None, content: str = "application/sdp") -> str:
    """Send an INVITE; its Call-ID."""
    fields = [ACCEPT_CONTACT, f"Contact: <{agent.contact}>;{FEATURE_TAG}", "Supported: timer", *headers]
    data = sdp() if body is None else body
    if data and not any(line.startswith("Content-Type") for line in headers):
        fields.append(f"Content-Type: {content}")
    return agent.begin("INVITE", uri, *fields, body=data)


def begin_session(agent: Agent, uris: Sequence[str], *headers: str, offer: bytes | None = None) -> str:
    """Send an INVITE with a list to the factory; its Call-ID."""
    kind, body = with_list(sdp() if offer is None else offer, resource_list(uris))
    return begin(agent, FACTORY, REQUIRE, kind, *headers, body=body)


def answer(agent: Agent, request: Message, *headers: str, body: bytes = ANSWER) -> None:
    """200 to an invitation."""
    fields = [f"Contact: <{agent.contact}>;{FEATURE_TAG}", "Content-Type: application/sdp", *headers]
    agent.reply(request, 200, "OK", *fields, body=body)


def ring(agent: Agent, request: Message, tag: str = "") -> None:
    """180 to an invitation."""
    agent.reply(request, 180, "Ringing", f"Contact: <{agent.contact}>;{FEATURE_TAG}")


def refuse(agent: Agent, request: Message, status: int, reason: str = "No") -> None:
    """A final response that says no, and its ACK."""
    agent.reply(request, status, reason)


def attributes(body: bytes) -> list[str]:
    """The a= lines of a description."""
    return [line.removeprefix("a=") for line in body.decode().split("\r\n") if line.startswith("a=")]


@contextmanager
def agents(instance: Instance, names: Sequence[str]) -> Iterator[list[Agent]]:
    """A registered agent for each name."""
    made = [Agent(instance.sip_port, name) for name in names]
    try:
        for agent in made:
            assert agent.register().status == 200
        yield made
        for agent in made:  # the next one of that name is not to share its calls with a device that is gone
            with suppress(TimeoutError):
                agent.register(expires=0)
    finally:
        for agent in made:
            agent.__exit__()


__all__ = ["DOMAIN", "FACTORY", "address"]
