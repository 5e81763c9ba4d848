"""Digest credentials for tests that write their requests themselves (RFC 7616 with MD5)."""

from __future__ import annotations

import hashlib
import re

CNONCE = "0a4f113b"


def authorization(challenge: str, method: str, uri: str, user: str, password: str = "") -> str:
    """The Authorization line, without line end, that answers the value of a WWW-Authenticate header as `user`."""

    def parameter(name: str) -> str:
        found = re.search(rf'{name}="([^"]*)"', challenge)
        assert found is not None, challenge
        return found[1]

    realm, nonce = parameter("realm"), parameter("nonce")
    secret = _md5(f"{user}:{realm}:{password or user + '-secret'}")
    response = _md5(f"{secret}:{nonce}:00000001:{CNONCE}:auth:{_md5(f'{method}:{uri}')}")
    return (
        f'Authorization: Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", algorithm=MD5, '
        f'qop=auth, nc=00000001, cnonce="{CNONCE}", response="{response}"'
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
