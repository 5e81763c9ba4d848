"""Whose credentials count: only those that were verified, whatever other ones a request carries (IDN-02, SEC-01)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import pytest

from tests.scenarios.bed import DOMAIN, Instance, RawSip


def request(raw: RawSip, method: str, user: str, to: str, uri: str, number: int, more: str) -> bytes:
    """A request from `user@host`, with `more` header lines."""
    body = "hi" if method == "MESSAGE" else ""
    return (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {raw.address}:{raw.port};branch=z9hG4bK{raw.port}{number}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:{user}>;tag=t{raw.port}\r\nTo: <sip:{to}@{DOMAIN}>\r\n"
        f"Call-ID: two-credentials-{raw.port}\r\nCSeq: {number} {method}\r\n{more}"
        f"Accept-Contact: *;+g.oma.sip-im;require;explicit\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def credentials(header: str, challenge: bytes, method: str, uri: str, user: str) -> str:
    """The header line that answers a challenge as `user`."""
    nonce = re.search(rb'nonce="([^"]+)"', challenge)
    assert nonce is not None, challenge
    text = nonce[1].decode()
    secret = hashlib.md5(f"{user}:{DOMAIN}:{user}-secret".encode()).hexdigest()
    what = hashlib.md5(f"{method}:{uri}".encode()).hexdigest()
    value = hashlib.md5(f"{secret}:{text}:00000001:c:auth:{what}".encode()).hexdigest()
    return (
        f'{header}: Digest username="{user}", realm="{DOMAIN}", nonce="{text}", uri="{uri}", algorithm=MD5, '
        f'qop=auth, nc=00000001, cnonce="c", response="{value}"\r\n'
    )


def foreign(header: str, user: str) -> str:
    """Credentials of somebody else for another realm, which nobody checks here."""
    return f'{header}: Digest username="{user}", realm="elsewhere", nonce="n", uri="sip:x", response="{"0" * 32}"\r\n'


@pytest.mark.requirement("IDN-02", "SEC-01")
@pytest.mark.parametrize("claimed", ["From", "P-Preferred-Identity"])
def test_credentials_for_another_realm_lend_no_name(instance: Instance, new_user: Callable[..., str], claimed: str) -> None:
    """Mallory's valid credentials behind victim's for another realm: the request is not taken for victim's."""
    mallory, victim, recipient = new_user(), new_user(), new_user()
    uri = f"sip:{recipient}@{DOMAIN}"
    raw = RawSip(instance.sip_port)
    sender = f"{victim}@{DOMAIN}" if claimed == "From" else "anonymous@anonymous.invalid"
    extra = "" if claimed == "From" else f"P-Preferred-Identity: <sip:{victim}@{DOMAIN}>\r\n"
    raw.send(request(raw, "MESSAGE", sender, recipient, uri, 1, extra))
    challenge = raw.final()
    assert challenge.startswith(b"SIP/2.0 407")
    both = foreign("Proxy-Authorization", victim) + credentials("Proxy-Authorization", challenge, "MESSAGE", uri, mallory)
    raw.send(request(raw, "MESSAGE", sender, recipient, uri, 2, extra + both))
    assert raw.final().startswith(b"SIP/2.0 403")
    assert instance.stored(recipient) == []
    raw.close()


@pytest.mark.requirement("COR-07", "SEC-01")
def test_credentials_for_another_realm_register_nobody_else(instance: Instance, new_user: Callable[..., str]) -> None:
    """The same for REGISTER: mallory cannot take victim's messages."""
    mallory, victim = new_user(), new_user()
    uri = f"sip:{DOMAIN}"
    raw = RawSip(instance.sip_port)
    contact = f"Contact: <sip:{mallory}@127.0.0.1:{raw.port}>;+g.oma.sip-im\r\nExpires: 600\r\n"
    raw.send(request(raw, "REGISTER", f"{victim}@{DOMAIN}", victim, uri, 1, contact))
    challenge = raw.final()
    assert challenge.startswith(b"SIP/2.0 401")
    both = foreign("Authorization", victim) + credentials("Authorization", challenge, "REGISTER", uri, mallory)
    raw.send(request(raw, "REGISTER", f"{victim}@{DOMAIN}", victim, uri, 2, contact + both))
    assert raw.final().startswith(b"SIP/2.0 403")
    raw.close()
