"""IM Session Identities and the other addresses of the focus (CNF-03, CNF-34)."""

from __future__ import annotations

import secrets
import string
from typing import Final

from msgspec import Struct

FACTORY_USER: Final = "conference-factory"
"""User part of the Conference-factory-URI."""
SESSION_PREFIX: Final = "im-session-"
"""How the user part of every IM Session Identity begins; `im.cfg` knows requests inside our dialogs by it."""
RANDOM_CHARACTERS: Final = 22
"""Of 36 kinds: 113 bits, so that nobody guesses a session (CNF-03)."""
_ALPHABET: Final = string.ascii_lowercase + string.digits
FEATURES: Final = ";isfocus;+g.oma.sip-im"
"""Feature tags of our Contact (HDR-03)."""

ALLOW_EVENTS: Final = ("Allow-Events", "conference")
"""Header of the focus's INVITEs and responses: clients see by it that they may subscribe (RFC 4579 section 3.4, CNF-34)."""


def new_session_user() -> str:
    """The user part of a new IM Session Identity, unguessable and used once."""  # CNF-03
    return SESSION_PREFIX + _random(RANDOM_CHARACTERS)


def _random(length: int) -> str:
    """So many characters, each as likely as any other."""
    number = secrets.randbelow(len(_ALPHABET) ** length)
    found = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        found.append(_ALPHABET[digit])
    return "".join(found)


def user_of(address: str) -> str:
    """The user part of a canonical sip address, empty when it has none."""
    return address.partition(":")[2].rpartition("@")[0]


def session_user(address: str) -> str:
    """The user part of an address that has the form of an IM Session Identity, else empty."""
    user = user_of(address).lower()
    return user if user.startswith(SESSION_PREFIX) else ""


def factory_uri(domain: str) -> str:
    """The Conference-factory-URI."""
    return f"sip:{FACTORY_USER}@{domain}"


class SessionAddress(Struct, frozen=True):
    """How one session is addressed. The node's own address routes to the node that owns it, without any DNS."""

    user: str
    host: str
    """`address:port` of this node."""
    domain: str

    @property
    def uri(self) -> str:
        """The IM Session Identity."""
        return f"sip:{self.user}@{self.host}"

    @property
    def uris(self) -> tuple[str, str]:
        """All by which it may be named: Kamailio makes its own addresses the domain."""
        return self.uri, f"sip:{self.user}@{self.domain}"

    @property
    def contact(self) -> str:
        """The whole Contact value of every leg of the session."""
        return f"<{self.uri}>{FEATURES}"  # HDR-03 CNF-34


def anonymous_uri() -> str:
    """A URI for a participant who wants privacy: tells nothing, and is nobody else's in the session (IDN-04, CES-05)."""
    return f"sip:anonymous-{_random(8)}@anonymous.invalid"
