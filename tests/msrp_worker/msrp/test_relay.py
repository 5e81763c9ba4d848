"""Logging in to relays (RFC 4976): the digest, and the dialogue with scripted relays."""

from __future__ import annotations

from hashlib import md5, sha256

import pytest

from msrp_worker.msrp.frames import Response
from msrp_worker.msrp.relay import RelayAccount, RelayError, RelayPath, authorization, log_in, parse_challenge
from msrp_worker.msrp.session import Session
from msrp_worker.msrp.uri import format_path, parse_path, parse_uri
from tests.msrp_worker.msrp.wiring import Client, Net

INNER = RelayAccount(parse_uri("msrps://intra.example.com:9000;tcp"), "Alice", "secret")
OUTER = RelayAccount(parse_uri("msrps://extra.example.com:9000;tcp"), "Al", "other")
FULL = 'Digest realm="intra.example.com", qop="auth", nonce="dcd98b", opaque="o\\"p", algorithm=SHA-256'


@pytest.mark.parametrize(
    ("value", "parameters"),
    [
        (
            FULL,
            {
                "realm": "intra.example.com",
                "qop": "auth",
                "nonce": "dcd98b",
                "opaque": 'o"p',
                "algorithm": "SHA-256",
            },
        ),
        ("digest nonce=abc,stale=TRUE", {"nonce": "abc", "stale": "TRUE"}),
        ('Digest realm="",nonce="x, y=z"', {"realm": "", "nonce": "x, y=z"}),
        ('Basic realm="x"', {}),
        ("", {}),
    ],
)
def test_challenges(value: str, parameters: dict[str, str]) -> None:
    assert parse_challenge(value) == parameters


@pytest.mark.requirement("MED-06")
def test_response_with_qop_and_opaque() -> None:
    def digest(text: str) -> str:
        return sha256(text.encode()).hexdigest()

    secret, request = digest("Alice:intra.example.com:secret"), digest(f"AUTH:{INNER.uri}")
    expected = digest(f"{secret}:dcd98b:00000001:c1:auth:{request}")
    assert authorization(parse_challenge(FULL), INNER, cnonce="c1") == (
        'Digest username="Alice", realm="intra.example.com", nonce="dcd98b", '
        f'uri="msrps://intra.example.com:9000;tcp", qop=auth, nc=00000001, cnonce="c1", '
        f'response="{expected}", opaque="o\\"p", algorithm=SHA-256'
    )


@pytest.mark.requirement("MED-06")
def test_response_without_qop_and_opaque() -> None:
    def digest(text: str) -> str:
        return md5(text.encode()).hexdigest()

    expected = digest(f"{digest('Alice:r:secret')}:n:{digest(f'AUTH:{INNER.uri}')}")
    value = authorization({"realm": "r", "nonce": "n"}, INNER, cnonce="c1")
    assert value == f'Digest username="Alice", realm="r", nonce="n", uri="{INNER.uri}", response="{expected}"'


@pytest.mark.parametrize("challenge", [{}, {"realm": "r"}, {"nonce": "n", "algorithm": "MD5-sess"}])
def test_challenges_that_cannot_be_answered(challenge: dict[str, str]) -> None:
    with pytest.raises(RelayError) as caught:
        authorization(challenge, INNER, cnonce="c")
    assert caught.value.code == 401


@pytest.mark.requirement("MED-06")
def test_paths_of_rfc_4976() -> None:
    """The example of section 5.1: A behind B and C, F behind D and E."""
    a, b, c, d, e, f = (parse_uri(f"msrps://{name}.example.com:1/x;tcp") for name in "abcdef")
    path = RelayPath((b, c), a, None)
    assert path.advertised == (c, b, a)
    assert path.towards((d, e, f)) == (b, c, d, e, f)


class ScriptedRelays:
    """Answers AUTH requests with what the script says; keeps what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *script: tuple[int, dict[str, str]]) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.connected = True
        self.session = Client(Net(), "alice", **_OPTIONS).session
        monkeypatch.setattr(Session, "request", self._request)

    async def connect(self, session: Session, address: tuple[str, int] | None = None, *, greet: bool = True) -> None:
        assert not greet

    def _request(self, method, headers, on_answer) -> bool:  # type: ignore[no-untyped-def]
        assert method == "AUTH"
        self.asked.append((format_path(self.session.remote), dict(headers)))
        if not self.connected:
            return False
        code, fields = self.script.pop(0)
        on_answer(Response("t", code, "text", "", "", list(fields.items())))
        return True


_OPTIONS: dict[str, object] = {}


@pytest.fixture
def relays(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    from msrp_worker.msrp.options import DEFAULT_OPTIONS

    _OPTIONS.update(server_options=DEFAULT_OPTIONS, client_options=DEFAULT_OPTIONS)
    return lambda *script: ScriptedRelays(monkeypatch, *script)


CHALLENGE = (401, {"WWW-Authenticate": 'Digest realm="r", qop="auth", nonce="n"'})


@pytest.mark.requirement("MED-06")
async def test_two_relays_one_through_the_other(relays) -> None:  # type: ignore[no-untyped-def]
    inner_use = "msrps://intra.example.com:9000/jui787s2f;tcp"
    script = relays(
        CHALLENGE,
        (200, {"Use-Path": inner_use, "Expires": "900"}),
        CHALLENGE,
        (200, {"Use-Path": f"{inner_use} msrps://extra.example.com:9000/mywdEe1233;tcp"}),
    )
    path = await log_in(script, script.session, [INNER, OUTER], expires=600)
    assert [to for to, _ in script.asked] == [
        "msrps://intra.example.com:9000;tcp",
        "msrps://intra.example.com:9000;tcp",
        f"{inner_use} msrps://extra.example.com:9000;tcp",
        f"{inner_use} msrps://extra.example.com:9000;tcp",
    ]
    assert all(fields["Expires"] == "600" for _, fields in script.asked)
    assert "Authorization" not in script.asked[0][1]
    assert 'username="Al"' in script.asked[3][1]["Authorization"]
    assert path.use_path == parse_path(f"{inner_use} msrps://extra.example.com:9000/mywdEe1233;tcp")
    assert path.expires is None


async def test_stale_nonce_is_tried_once_more(relays) -> None:  # type: ignore[no-untyped-def]
    stale = (401, {"WWW-Authenticate": 'Digest realm="r", qop="auth", nonce="n2", stale=true'})
    script = relays(CHALLENGE, stale, (200, {"Use-Path": "msrp://r.example.com:1/s;tcp"}))
    await log_in(script, script.session, [INNER])
    assert 'nonce="n2"' in script.asked[2][1]["Authorization"]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ((CHALLENGE, CHALLENGE), 401),
        (((403, {}),), 403),
        (((401, {}),), 401),
        (((200, {}),), 200),
        (((200, {"Use-Path": "http://x"}),), 200),
        (((408, {}),), 408),
    ],
)
async def test_relay_that_does_not_let_us_in(relays, script, code) -> None:  # type: ignore[no-untyped-def]
    scripted = relays(*script)
    with pytest.raises(RelayError) as caught:
        await log_in(scripted, scripted.session, [INNER])
    assert caught.value.code == code


async def test_no_relay_and_no_connection(relays) -> None:  # type: ignore[no-untyped-def]
    scripted = relays()
    with pytest.raises(ValueError, match="relay"):
        await log_in(scripted, scripted.session, [])
    scripted.connected = False
    with pytest.raises(RelayError, match="connection"):
        await log_in(scripted, scripted.session, [INNER])
