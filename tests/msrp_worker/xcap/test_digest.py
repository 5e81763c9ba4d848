"""Digest authentication of the server: the example of RFC 7616, nonces, and what is no credentials."""

from __future__ import annotations

import hashlib

import pytest

from im_client.digest import Challenge, credentials
from msrp_worker.xcap import digest

KEY = bytes(32)
NOW = 1_800_000_000.0
RANDOM = b"12345678"
RFC_7616 = (
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=SHA-256, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
    'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
SECRET = hashlib.sha256(b"Mufasa:http-auth@example.org:Circle of Life").hexdigest()


@pytest.mark.requirement("XDM-06")
def test_the_example_of_rfc_7616_section_3_9_1() -> None:
    given = digest.parse(RFC_7616)
    assert given is not None
    assert digest.is_right(given, SECRET, "GET", "/dir/index.html")
    for secret, method, target in (
        (SECRET, "PUT", "/dir/index.html"),
        (SECRET, "GET", "/dir/other.html"),
        (SECRET[::-1], "GET", "/dir/index.html"),
        ("", "GET", "/dir/index.html"),
    ):
        assert not digest.is_right(given, secret, method, target)


@pytest.mark.requirement("XDM-06")
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize(
    ("told", "target"),
    [
        ("/a/sip:x@y/~~/b%5b1%5d?q(p=u)", "/a/sip:x@y/~~/b%5b1%5d?q(p=u)"),
        ("/a/sip:x@y/~~/b[1]", "/a/sip:x@y/~~/b%5B1%5d"),
        ("http://xcap.example.com/a", "/a"),
        ("/a", "http://10.0.0.1:8080/a"),
        ("/%7E%7E", "/~~"),
    ],
)
def test_what_our_client_computes_is_right(algorithm: str, told: str, target: str) -> None:
    """Also where something between has written the same URI in another way."""
    secret = hashlib.new({"MD5": "md5", "SHA-256": "sha256"}[algorithm], b'al"ice:realm:pw').hexdigest()
    header = credentials(Challenge("realm", "n", algorithm), 'al"ice', "pw", "DELETE", told, 3, "c")
    given = digest.parse(header)
    assert given is not None and given.username == 'al"ice'
    assert digest.is_right(given, secret, "DELETE", target)
    assert not digest.is_right(given, secret, "DELETE", target + "x")


@pytest.mark.requirement("XDM-06", "SEC-01")
def test_an_escaped_slash_is_no_slash() -> None:
    secret = hashlib.md5(b"a:realm:pw").hexdigest()
    given = digest.parse(credentials(Challenge("realm", "n"), "a", "pw", "GET", "/a%2Fb", 1, "c"))
    assert given is not None
    assert digest.is_right(given, secret, "GET", "/a%2fb")
    assert not digest.is_right(given, secret, "GET", "/a/b")


@pytest.mark.requirement("XDM-06", "SEC-05")
@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic YTpi",
        "Digest",
        "Digest username",
        RFC_7616.replace("qop=auth", "qop=auth-int"),
        RFC_7616.replace(", qop=auth", ""),
        RFC_7616.replace("SHA-256", "MD5-sess"),
        RFC_7616.replace("nc=00000001", "nc=1"),
        RFC_7616.replace("username=", "username*="),
        RFC_7616.replace("cnonce=", "x="),
        RFC_7616 + ", userhash=true",
        RFC_7616 + ', username="Simba"',
        RFC_7616 + ', x="',
        RFC_7616 + ', x="' + "y" * 5000 + '"',
        "Digest " + "a=b," * 1000,
        "\x00\xff",
    ],
)
def test_what_is_no_credentials(header: str) -> None:
    assert digest.parse(header) is None


@pytest.mark.requirement("XDM-06")
def test_a_nonce_is_ours_and_young() -> None:
    nonce = digest.new_nonce(KEY, NOW, RANDOM)
    assert digest.is_fresh(KEY, nonce, NOW)
    assert digest.is_fresh(KEY, nonce, NOW + digest.NONCE_S)
    assert not digest.is_fresh(KEY, nonce, NOW + digest.NONCE_S + 1)
    assert not digest.is_fresh(KEY, nonce, NOW - 10)
    assert not digest.is_fresh(b"x" * 32, nonce, NOW)
    for index in range(len(nonce)):
        other = nonce[:index] + ("A" if nonce[index] != "A" else "B") + nonce[index + 1 :]
        assert not digest.is_fresh(KEY, other, NOW) or other.rstrip("=")[:-1] == nonce[:-1]
    for text in ("", "A", "é", nonce + "AAAA", "=" * 40):
        assert not digest.is_fresh(KEY, text, NOW)


@pytest.mark.requirement("XDM-06")
def test_challenges_name_the_stronger_algorithm_first() -> None:
    assert digest.challenges("example.com", "n", sha256=True, stale=True) == [
        'Digest realm="example.com", qop="auth", nonce="n", stale=true, algorithm=SHA-256',
        'Digest realm="example.com", qop="auth", nonce="n", stale=true, algorithm=MD5',
    ]
    assert digest.challenges("example.com", "n", sha256=False) == [
        'Digest realm="example.com", qop="auth", nonce="n", algorithm=MD5'
    ]
