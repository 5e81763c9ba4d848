"""Digest authentication of the client (RFC 7616, RFC 8760, RFC 3261 section 22), without I/O or randomness.

`Authenticator` remembers the last nonce of each protection space and counts its uses, so that a request
carries credentials from the start and costs one round trip, until the server says that the nonce is stale.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sipmessage import Headers

from .wire import parameters, quote, split_outside_quotes

MAX_SPACES = 64
"""Protection spaces remembered; the one unused for longest is forgotten. A client talks to a handful."""

# RFC 8760 section 2.1; the server's order decides among them (section 2.4)
ALGORITHMS = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}


@dataclass(frozen=True, slots=True)
class Challenge:
    """One understood Digest challenge. `qop` is False for servers of RFC 2069 times, which offer none."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    opaque: str | None = None
    qop: bool = True
    stale: bool = False
    proxy: bool = False  # from Proxy-Authenticate


def parse_challenges(headers: Headers) -> list[Challenge]:
    """The challenges of a 401 or 407 this client can answer.

    The topmost of each realm (RFC 8760 section 2.4).
    """
    found: dict[tuple[bool, str], Challenge] = {}
    for name, proxy in (("WWW-Authenticate", False), ("Proxy-Authenticate", True)):
        for value in _challenge_values(headers.getlist(name)):
            challenge = _parse(value, proxy)
            if challenge is not None:
                found.setdefault((proxy, challenge.realm), challenge)
    return list(found.values())


def _challenge_values(lines: list[str]) -> Iterator[str]:
    """One text per challenge.

    A header line may hold several, and their parameters have commas between them too.
    """
    current: list[str] = []
    for line in lines:
        for part in split_outside_quotes(line, ","):
            head = part.partition("=")[0].split()
            if len(head) == 2 and current:  # "Digest realm": a new challenge begins
                yield ",".join(current)
                current = []
            current.append(part)
        if current:
            yield ",".join(current)
            current = []


def _parse(value: str, proxy: bool) -> Challenge | None:
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":  # RFC 8760 section 2.6: Basic is never accepted
        return None
    found = parameters(split_outside_quotes(rest, ","))
    realm, nonce = found.get("realm"), found.get("nonce")
    algorithm = (found.get("algorithm") or "MD5").upper()
    offered = [part.strip().lower() for part in (found.get("qop") or "").split(",") if part.strip()]
    if realm is None or nonce is None or algorithm not in ALGORITHMS or (offered and "auth" not in offered):
        return None
    stale = (found.get("stale") or "").lower() == "true"
    return Challenge(realm, nonce, algorithm, found.get("opaque"), bool(offered), stale, proxy)


def digest_response(challenge: Challenge, username: str, password: str, method: str, uri: str, nc: str, cnonce: str) -> str:
    """The response value, hexadecimal (RFC 7616 section 3.4.1; without qop as in RFC 2069)."""
    secret = _hash(challenge.algorithm, f"{username}:{challenge.realm}:{password}")
    target = _hash(challenge.algorithm, f"{method}:{uri}")
    middle = f"{nc}:{cnonce}:auth:" if challenge.qop else ""
    return _hash(challenge.algorithm, f"{secret}:{challenge.nonce}:{middle}{target}")


def _hash(algorithm: str, text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    return hashlib.new(ALGORITHMS[algorithm], data, usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class _Space:
    challenge: Challenge
    uses: int = 0


SpaceKey = tuple[bool, str, str]  # proxy?, realm, Request-URI ("" for proxies: they guard every request)


@dataclass(slots=True)
class Authenticator:
    """The credentials of one user and the nonces known now."""

    username: str
    password: str
    _spaces: OrderedDict[SpaceKey, _Space] = field(default_factory=OrderedDict)

    def headers(self, method: str, uri: str, cnonce: Callable[[], str]) -> list[tuple[str, str]]:
        """Authorization and Proxy-Authorization fields for a request, from the nonces known.

        Each use is counted.
        """
        fields = []
        for key, space in self._spaces.items():
            if space.challenge.proxy or key[2] == uri:
                space.uses += 1
                name = "Proxy-Authorization" if space.challenge.proxy else "Authorization"
                fields.append((name, self._value(space, method, uri, cnonce())))
        return fields

    def learn(self, challenges: list[Challenge], uri: str) -> None:
        """Take over the nonces of a 401 or 407 to a request to `uri`."""
        for challenge in challenges:
            key = (challenge.proxy, challenge.realm, "" if challenge.proxy else uri)
            self._spaces.pop(key, None)
            self._spaces[key] = _Space(challenge)
        while len(self._spaces) > MAX_SPACES:
            self._spaces.popitem(last=False)

    def _value(self, space: _Space, method: str, uri: str, cnonce: str) -> str:
        return credentials(space.challenge, self.username, self.password, method, uri, space.uses, cnonce)


def credentials(challenge: Challenge, username: str, password: str, method: str, uri: str, uses: int, cnonce: str) -> str:
    """The value of Authorization that answers a challenge; `uses` counts those of its nonce, this one included."""
    nc = f"{uses:08x}"
    response = digest_response(challenge, username, password, method, uri, nc, cnonce)
    fields = [
        f"username={quote(username)}",
        f"realm={quote(challenge.realm)}",
        f"nonce={quote(challenge.nonce)}",
        f"uri={quote(uri)}",
        f'response="{response}"',
        f"algorithm={challenge.algorithm}",
    ]
    if challenge.qop:  # RFC 7616 section 3.4: qop, nc and algorithm go without quotes
        fields += ["qop=auth", f"nc={nc}", f"cnonce={quote(cnonce)}"]
    if challenge.opaque is not None:
        fields.append(f"opaque={quote(challenge.opaque)}")
    return "Digest " + ", ".join(fields)
