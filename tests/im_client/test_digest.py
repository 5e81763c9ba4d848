"""Digest authentication against the examples of RFC 7616 and the rules of RFC 8760."""

from __future__ import annotations

import pytest
from sipmessage import Headers

from im_client.digest import MAX_SPACES, Authenticator, Challenge, digest_response, parse_challenges

REALM = "http-auth@example.org"
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_examples_of_rfc_7616_section_3_9_1(algorithm: str, expected: str) -> None:
    challenge = Challenge(REALM, NONCE, algorithm)
    found = digest_response(
        challenge, "Mufasa", "Circle of Life", "GET", "/dir/index.html", "00000001", CNONCE
    )
    assert found == expected


def test_without_qop_as_rfc_2617_section_3_5_does_for_old_servers() -> None:
    challenge = Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", qop=False)
    found = digest_response(challenge, "Mufasa", "Circle Of Life", "GET", "/dir/index.html", "", "")
    assert found == "670fd8c2df070c60b045671b8b24ff02"


def headers(*lines: tuple[str, str]) -> Headers:
    made = Headers()
    for name, value in lines:
        made.add(name, value)
    return made


def www(value: str) -> Headers:
    return headers(("WWW-Authenticate", value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('Digest realm="r", nonce="n"', [Challenge("r", "n", qop=False)]),
        ('Digest realm="r",nonce="n",qop="auth,auth-int"', [Challenge("r", "n")]),
        ('digest realm="a, b", nonce="n==", QOP="auth", stale=TRUE', [Challenge("a, b", "n==", stale=True)]),
        ('Digest realm="a\\"b", nonce="n", qop=auth, opaque=""', [Challenge('a"b', "n", opaque="")]),
        ('Digest realm="r", nonce="n", qop="auth", algorithm=sha-256', [Challenge("r", "n", "SHA-256")]),
        ('Digest realm="r", nonce="n", qop="auth", algorithm="MD5"', [Challenge("r", "n")]),
        # not understood, hence ignored (RFC 8760 section 2.4)
        ('Digest realm="r", nonce="n", qop="auth-int"', []),
        ('Digest realm="r", nonce="n", algorithm=SHA-3', []),
        ('Digest nonce="n"', []),
        ('Digest realm="r"', []),
        ('Basic realm="r"', []),
        ("", []),
        ("Digest", []),
        # two in one line, with a foreign scheme before them
        (
            'Basic realm="x", Digest realm="r", nonce="n", qop="auth", Digest realm="s", nonce="m", qop=auth',
            [Challenge("r", "n"), Challenge("s", "m")],
        ),
    ],
)
def test_challenges(value: str, expected: list[Challenge]) -> None:
    assert parse_challenges(www(value)) == expected


def test_the_topmost_supported_algorithm_of_a_realm_is_taken() -> None:
    found = parse_challenges(
        headers(
            ("WWW-Authenticate", 'Digest realm="r", nonce="a", qop="auth", algorithm=SHA-512'),
            ("WWW-Authenticate", 'Digest realm="r", nonce="b", qop="auth", algorithm=SHA-256'),
            ("WWW-Authenticate", 'Digest realm="r", nonce="c", qop="auth", algorithm=MD5'),
            ("Proxy-Authenticate", 'Digest realm="r", nonce="d", qop="auth"'),
        )
    )
    assert found == [Challenge("r", "b", "SHA-256"), Challenge("r", "d", proxy=True)]


def credentials(authenticator: Authenticator, uri: str = "sip:b@h") -> list[tuple[str, str]]:
    return authenticator.headers("MESSAGE", uri, lambda: "c")


def test_the_nonce_is_used_again_with_a_higher_count() -> None:
    authenticator = Authenticator("u", "p")
    assert credentials(authenticator) == []
    authenticator.learn([Challenge("r", "n", opaque="o", proxy=True)], "sip:b@h")
    (name, first), (_, second) = credentials(authenticator)[0], credentials(authenticator, "sip:other@h")[0]
    assert name == "Proxy-Authorization"
    assert first.startswith('Digest username="u", realm="r", nonce="n", uri="sip:b@h", response="')
    assert first.endswith(', algorithm=MD5, qop=auth, nc=00000001, cnonce="c", opaque="o"')
    assert 'uri="sip:other@h"' in second
    assert "nc=00000002" in second
    authenticator.learn([Challenge("r", "n2", proxy=True)], "sip:b@h")
    assert "nc=00000001" in credentials(authenticator)[0][1]


def test_credentials_of_a_server_go_to_its_request_uri_only() -> None:
    authenticator = Authenticator("u", "p")
    authenticator.learn([Challenge("r", "n")], "sip:h")
    assert [name for name, _ in credentials(authenticator, "sip:h")] == ["Authorization"]
    assert credentials(authenticator, "sip:b@h") == []


def test_protection_spaces_are_bounded() -> None:
    authenticator = Authenticator("u", "p")
    for number in range(3 * MAX_SPACES):
        authenticator.learn([Challenge("r", "n")], f"sip:{number}@h")
    assert len(authenticator._spaces) == MAX_SPACES
    assert credentials(authenticator, f"sip:{3 * MAX_SPACES - 1}@h")
