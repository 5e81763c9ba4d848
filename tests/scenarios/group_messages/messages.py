"""Messages to many, as the scenarios of this folder send them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.scenarios.agent import Agent, Message
from tests.scenarios.bed import Instance, wait_until
from tests.scenarios.evidence import address

NewUser = Callable[..., str]
FACTORY = "sip:conference-factory@example.com"
SPACES = 'xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:cp="urn:ietf:params:xml:ns:copycontrol"'
GROUP_SPACE = "urn:oma:xml:poc:list-service"


def uri_list(*entries: str | tuple[str, str]) -> bytes:
    """A URI-list: addresses, or addresses with further attributes."""
    pairs = [entry if isinstance(entry, tuple) else (entry, "") for entry in entries]
    inside = "".join(f'<entry uri="{uri}" {attributes}/>' for uri, attributes in pairs)
    return f"<resource-lists {SPACES}><list>{inside}</list></resource-lists>".encode()


def with_list(document: bytes, body: bytes = b"Hello", kind: str = "text/plain") -> dict[str, Any]:
    """Body and Content-Type of a message with a list, for `Agent.begin_message`."""
    parts = (
        b"--b1\r\nContent-Type: %b\r\n\r\n%b\r\n" % (kind.encode(), body),
        b"--b1\r\nContent-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n\r\n",
        document + b"\r\n--b1--\r\n",
    )
    return {"body": b"".join(parts), "content_type": 'multipart/mixed;boundary="b1"'}


def group_document(uri: str, members: Iterable[str], rules: str = "") -> bytes:
    """A group document; without `rules` its members may do what members may."""
    entries = "".join(f'<entry uri="{address(member)}"/>' for member in members)
    return (
        f'<group xmlns="{GROUP_SPACE}"><list-service uri="{uri}"><list>{entries}</list>{rules}</list-service></group>'
    ).encode()


def put_group(instance: Instance, uri: str, members: Iterable[str], rules: str = "") -> None:
    """Make a group known to the running instance."""
    instance.in_store(lambda store: store.groups.put(uri, group_document(uri, members, rules)))


def copies(agents: Iterable[Agent]) -> list[Message]:
    """The copy that each agent gets, acknowledged with 200."""
    return [agent.accept() for agent in agents]


def outcomes(instance: Instance, call_id: str, number: int) -> dict[str, tuple[str, int]]:
    """What `trace` says about the copies of a message, by recipient, as soon as there are `number`."""

    def found() -> dict[str, tuple[str, int]]:
        events = [event for event in instance.trace(call_id) if event["kind"].startswith("copy-")]
        return {event["recipient"]: (event["kind"], event["status"]) for event in events}

    return dict(wait_until(lambda: (now := found()) and len(now) >= number and now, f"{number} outcomes of {call_id}"))
