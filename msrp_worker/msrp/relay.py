"""Relays of our own: log in with AUTH, get the URIs to be reached by (RFC 4976). The client side.

    account = RelayAccount(parse_uri("msrps://relay.example.com:2855;tcp"), name, secret)
    path = await log_in(endpoint, session, [account])
    ...                                             # path.advertised is for our a=path
    session.set_remote(path.towards(path_of_the_peer))
    session.greet()

One session does all of it: its URI is the one the relays forward to, and its connection is the one to the
first relay. The port in that URI is that of our end of the connection, as nobody else may connect.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from .frames import Response
from .session import Session
from .uri import MsrpUri, UriError, parse_path

_HASHES = {"MD5": "md5", "SHA-256": "sha256"}
"""Algorithms taken (RFC 7616 section 3.3); MD5-sess must not be used with MSRP (RFC 4976 section 9.1)."""
_PARAMETER = re.compile(r'([A-Za-z0-9-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class RelayError(ConnectionError):
    """A relay did not let us in; `code` is its response, 408 for none."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class RelayAccount:
    """A relay and what it knows us by."""

    uri: MsrpUri
    username: str
    password: str


@dataclass(frozen=True, slots=True)
class RelayPath:
    """What the relays gave us."""

    use_path: tuple[MsrpUri, ...]
    own: MsrpUri
    expires: int | None
    """Seconds for which it is valid, as far as the outermost relay says."""

    @property
    def advertised(self) -> tuple[MsrpUri, ...]:
        """For our a=path: the relays, outermost first, and ourselves (section 5.1)."""
        return (*reversed(self.use_path), self.own)

    def towards(self, peer: Sequence[MsrpUri]) -> tuple[MsrpUri, ...]:
        """For `Session.set_remote`: through our relays, then along the peer's path (section 5.1)."""
        return (*self.use_path, *peer)


class Connector(Protocol):
    """Of an endpoint: opens the connection of a session."""

    async def connect(self, session: Session, address: tuple[str, int] | None = None, *, greet: bool = True) -> None: ...


async def log_in(
    endpoint: Connector, session: Session, relays: Sequence[RelayAccount], *, expires: int | None = None
) -> RelayPath:
    """Connect to the first relay and authenticate to each in turn, through those before it (MED-06).

    Raises OSError where there is no connection, RelayError (one too) where a relay refuses.
    """
    if not relays:
        raise ValueError("no relay")
    session.set_remote((relays[0].uri,))
    await endpoint.connect(session, greet=False)
    if session.link is not None and session.link.local_port is not None:
        # COMPAT(OpenSIPS): it looks for the connection to a client by the port of the client's URI, and opens another
        # one where it finds none, though what comes for a client has to take the connection of its AUTH (section 6.3).
        session.rename(replace(session.local, port=session.link.local_port))  # MED-06
    use_path: tuple[MsrpUri, ...] = ()
    granted = None
    for relay in relays:
        session.set_remote((*use_path, relay.uri))
        response = await _authenticate(session, relay, expires)
        try:
            use_path = parse_path(_header(response, "Use-Path") or "")
        except UriError as error:
            raise RelayError(f"{relay.uri} gave no Use-Path", response.code) from error
        lifetime = _header(response, "Expires") or ""
        granted = int(lifetime) if lifetime.isascii() and lifetime.isdigit() else None
    return RelayPath(use_path, session.local, granted)


async def _authenticate(session: Session, relay: RelayAccount, expires: int | None) -> Response:
    """AUTH, and again with the answer to the challenge; also where the challenge says that ours was stale."""
    fields = [] if expires is None else [("Expires", str(expires))]
    response = await _request(session, fields)
    for _ in range(2):
        if response.code != 401:
            break
        challenge = parse_challenge(_header(response, "WWW-Authenticate") or "")
        credentials = authorization(challenge, relay, cnonce=secrets.token_hex(8))
        response = await _request(session, [*fields, ("Authorization", credentials)])
        if (
            response.code == 401
            and parse_challenge(_header(response, "WWW-Authenticate") or "").get("stale", "").lower() != "true"
        ):
            break
    if response.code != 200:
        text = f" {response.comment}" if response.comment else ""
        raise RelayError(f"{relay.uri} answered {response.code}{text}", response.code)
    return response


async def _request(session: Session, fields: Sequence[tuple[str, str]]) -> Response:
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def answered(response: Response) -> None:
        if not future.done():
            future.set_result(response)

    if not session.request("AUTH", fields, answered):
        raise RelayError("no connection", 408)
    return await future


def parse_challenge(value: str) -> dict[str, str]:
    """The parameters of `Digest realm="…", nonce="…", …`, names in lower case; empty for another scheme."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        return {}
    return {name.lower(): token or re.sub(r"\\(.)", r"\1", quoted) for name, quoted, token in _PARAMETER.findall(rest)}


def authorization(challenge: Mapping[str, str], relay: RelayAccount, *, cnonce: str) -> str:
    """The Authorization value that answers a challenge. Raises RelayError for one that cannot be answered.

    COMPAT(Kamailio): a challenge without qop is answered as RFC 2617 section 3.2.2.1 says, though RFC 4976
    section 9.1 demands one; `uri` is sent though the grammar of RFC 4976 has none, as digest modules of SIP
    servers want it.
    """
    algorithm = challenge.get("algorithm", "MD5").upper()
    if "nonce" not in challenge or algorithm not in _HASHES:
        raise RelayError(f"{relay.uri} has a challenge that cannot be answered", 401)

    def digest(text: str) -> str:
        return hashlib.new(_HASHES[algorithm], text.encode(), usedforsecurity=False).hexdigest()

    realm, nonce, uri = challenge.get("realm", ""), challenge["nonce"], str(relay.uri)
    # The request-URI to be used in calculating H(A2) is the rightmost URI in the To-Path (RFC 4976 section
    # 9.1).
    secret, request = digest(f"{relay.username}:{realm}:{relay.password}"), digest(f"AUTH:{uri}")
    parts = [
        f'username="{_escape(relay.username)}"',
        f'realm="{_escape(realm)}"',
        f'nonce="{_escape(nonce)}"',
        f'uri="{uri}"',
    ]
    if "auth" in re.split(r"[\s,]+", challenge.get("qop", "")):
        response = digest(f"{secret}:{nonce}:00000001:{cnonce}:auth:{request}")
        parts += ["qop=auth", "nc=00000001", f'cnonce="{cnonce}"']
    else:
        response = digest(f"{secret}:{nonce}:{request}")
    parts.append(f'response="{response}"')
    if "opaque" in challenge:
        parts.append(f'opaque="{_escape(challenge["opaque"])}"')
    if "algorithm" in challenge:
        parts.append(f"algorithm={challenge['algorithm']}")
    return "Digest " + ", ".join(parts)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _header(response: Response, name: str) -> str | None:
    wanted = name.lower()
    return next((value for key, value in response.headers if key.lower() == wanted), None)
