"""Conference documents (RFC 4575 section 4): full, partial, out of order."""

from __future__ import annotations

import pytest

from im_client.conference_info import Conference, update
from im_client.errors import MalformedMessageError

HEAD = '<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="sip:room@h" state="{}" version="{}">'


def document(state: str, version: int, inner: str) -> bytes:
    return (HEAD.format(state, version) + inner + "</conference-info>").encode()


def endpoint(name: str, status: str) -> str:
    return f'<endpoint entity="sip:{name}@pc"><status>{status}</status></endpoint>'


def user(name: str, status: str = "connected", state: str = "full") -> str:
    return (
        f'<user entity="sip:{name}@h" state="{state}"><display-text>{name.title()}</display-text>'
        f"<roles><entry>participant</entry></roles>{endpoint(name, status)}</user>"
    )


FULL = document(
    "full",
    5,
    "<conference-description><subject>Lunch</subject></conference-description>"
    "<conference-state><active>true</active></conference-state>"
    f"<users>{user('alice')}{user('bob')}{user('carol', 'disconnected')}</users>",
)


def names(conference: Conference | None) -> list[str]:
    assert conference is not None
    return [one.name for one in conference.present]


@pytest.mark.requirement("CLI-03")
def test_full_and_partial() -> None:
    first = update(Conference(), FULL)
    assert first is not None
    assert (first.entity, first.subject, first.version, names(first)) == ("sip:room@h", "Lunch", 5, ["Alice", "Bob"])
    partial = f'<users state="partial">{user("dave")}<user entity="sip:bob@h" state="deleted"/></users>'
    second = update(first, document("partial", 6, partial))
    assert names(second) == ["Alice", "Dave"]
    assert second is not None
    left = f'<user entity="sip:alice@h" state="partial">{endpoint("alice", "disconnected")}</user>'
    third = update(second, document("partial", 7, f'<users state="partial">{left}</users>'))
    assert names(third) == ["Dave"]
    assert third is not None
    assert third.users["sip:alice@h"].name == "Alice"
    assert third.subject == "Lunch"


@pytest.mark.requirement("CLI-03")
def test_order() -> None:
    first = update(Conference(), FULL)
    assert first is not None
    assert update(first, FULL) is first  # came again
    assert update(first, document("partial", 4, "")) is first
    assert update(first, document("partial", 7, "")) is None  # 6 is missing
    assert update(Conference(), document("partial", 1, "")) is None
    assert names(update(first, document("full", 9, f"<users>{user('dave')}</users>"))) == ["Dave"]
    gone = update(first, document("deleted", 6, ""))
    assert gone is not None
    assert (gone.active, names(gone)) == (False, [])


@pytest.mark.parametrize("data", [b"", b"<a/>", document("full", 1, "").replace(b'"1"', b'"x"'), b"<!DOCTYPE a><a>"])
def test_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        update(Conference(), data)
