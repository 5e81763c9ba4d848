"""A source of conference state for tests, and what a subscriber makes of documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from im_client.conference_info import Conference
from msrp_worker.controlling.conference_state import SHOWN, ConferenceUser, UserStatus


def user(name: str, status: UserStatus = UserStatus.CONNECTED, **parts: str) -> ConferenceUser:
    """One user of example.com."""
    uri = f"sip:{name}@example.com"
    values = {"key": uri, "entity": uri, "endpoint": uri, "display_text": name.title(), **parts}
    return ConferenceUser(**values, status=status)


def anonymous(name: str, number: int, **parts: str) -> ConferenceUser:
    """One who asked for privacy."""
    entity = f"sip:anonymous{number}@anonymous.invalid"
    hidden = {"entity": entity, "endpoint": f"sip:{name}@192.0.2.7", "display_text": "Anonymous", **parts}
    return user(name, UserStatus.CONNECTED, **hidden)


@dataclass
class Source:
    """A session whose users the test changes, by their addresses."""

    entity: str = "sip:friends@example.com"
    contact: str = "<sip:im-session-a@192.0.2.1:5060>;isfocus;+g.oma.sip-im"
    asserted: str = "sip:friends@example.com"
    subject: str = "Lunch"
    maximum_users: int = 0
    present: dict[str, ConferenceUser] = field(default_factory=dict)

    def add(self, *users: ConferenceUser) -> Source:
        """Have these users, in the place of who has the same address."""
        self.present.update({one.key: one for one in users})
        return self

    def remove(self, name: str) -> None:
        """Have this user no more."""
        self.present.pop(f"sip:{name}@example.com", None)

    def users(self) -> Sequence[ConferenceUser]:
        return list(self.present.values())

    def shown(self) -> dict[str, tuple[str, str]]:
        """Name and status of all who are there or called, by the URI shown."""
        return {one.entity: (one.display_text, str(one.status)) for one in self.users() if one.status in SHOWN}


def roster(conference: Conference) -> dict[str, tuple[str, str]]:
    """The same, as a client knows it."""
    return {one.entity: (one.name, *one.status.values()) for one in conference.present}  # type: ignore[misc]
