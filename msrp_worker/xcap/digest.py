"""HTTP digest authentication of the server (RFC 7616): challenges, nonces without memory, credentials. Pure.

A nonce is the time it was made, random bytes, and a code over both that only this worker can make. So none is remembered,
and a flood of requests without credentials costs no memory.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from msrp_worker.xcap.selector import UriError, decode

NONCE_S: Final = 300.0
"""How long a nonce holds, in seconds; then the client is told that it is stale and asks again by itself."""
LONGEST: Final = 4096
"""Characters of an Authorization header: a URI, a nonce, and names."""
_CODE_BYTES = 16

# auth-param = token BWS "=" BWS ( token / quoted-string )   (RFC 7235 section 2.1)
_PARAMETER = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]+))\s*(?:,|\Z)")
_FUNCTIONS: Final = {"MD5": "md5", "SHA-256": "sha256"}
SHA_256: Final = "SHA-256"
MD5: Final = "MD5"


class Credentials(msgspec.Struct, frozen=True):
    """What an Authorization header says."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str
    cnonce: str
    nc: str


def challenges(realm: str, nonce: str, *, sha256: bool, stale: bool = False) -> list[str]:
    """Values of WWW-Authenticate, the preferred one first (section 3.7)."""
    told = f'Digest realm="{realm}", qop="auth", nonce="{nonce}"' + (", stale=true" if stale else "")
    return [f"{told}, algorithm={name}" for name in ((SHA_256, MD5) if sha256 else (MD5,))]


def new_nonce(key: bytes, now: float, random: bytes) -> str:
    """A nonce made now; `random` are eight bytes."""
    told = int(now).to_bytes(5, "big") + random[:8]
    return base64.urlsafe_b64encode(told + _code(key, told)).decode().rstrip("=")


def is_fresh(key: bytes, nonce: str, now: float) -> bool:
    """Whether we made this nonce, and not too long ago."""
    try:
        data = base64.urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))
    except (ValueError, binascii.Error):
        return False
    told, code = data[:13], data[13:]
    if len(data) != 13 + _CODE_BYTES or not hmac.compare_digest(code, _code(key, told)):
        return False
    return 0 <= now - int.from_bytes(told[:5], "big") <= NONCE_S


def parse(header: str) -> Credentials | None:
    """The credentials of an Authorization header; None for another scheme, or what we never asked for."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "digest" or len(header) > LONGEST:
        return None
    found = _parameters(rest)
    if found is None or found.get("qop") != "auth" or found.get("userhash", "false").lower() == "true":
        return None
    algorithm = found.get("algorithm", MD5).upper()
    names = ("username", "realm", "nonce", "uri", "response", "cnonce", "nc")
    if algorithm not in _FUNCTIONS or not all(name in found for name in names):
        return None
    if re.fullmatch(r"[0-9A-Fa-f]{8}", found["nc"]) is None:
        return None
    return Credentials(**{name: found[name] for name in names}, algorithm=algorithm)


def is_right(given: Credentials, secret: str, method: str, target: str) -> bool:
    """Whether who sent these knows the password, and meant this request (section 3.4.1).

    `secret` is HA1 of the algorithm in the credentials; an empty one is never right.
    """
    hashed = _hash(given.algorithm, f"{method}:{given.uri}")
    expected = _hash(given.algorithm, f"{secret}:{given.nonce}:{given.nc}:{given.cnonce}:auth:{hashed}")
    same = hmac.compare_digest(expected.encode(), given.response.lower().encode("utf-8", "replace"))
    return bool(secret) and same and _normal(given.uri) == _normal(target)


def _normal(uri: str) -> str:
    """A request-target for comparison: without scheme and host, and percent-encoding undone where it changes nothing."""
    path = re.sub(r"\Ahttps?://[^/?]*", "", uri, flags=re.IGNORECASE)
    try:
        # Reserved characters stay encoded: `%2F` is not `/`.
        return decode(re.sub(r"%(2[Ff]|3[Ff]|25)", lambda match: f"%25{match[1].upper()}", path))
    except UriError:
        return path


def _parameters(text: str) -> Mapping[str, str] | None:
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None or match[1].lower() in found:
            return None
        found[match[1].lower()] = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        position = match.end()
    return found


def _code(key: bytes, told: bytes) -> bytes:
    return hmac.new(key, told, "sha256").digest()[:_CODE_BYTES]


def _hash(algorithm: str, text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    return hashlib.new(_FUNCTIONS[algorithm], data, usedforsecurity=False).hexdigest()
