"""MSRP over TLS between two clients: certificates of their own, bound to the descriptions by fingerprints (RFC 8122)."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from im_client import own_certificate
from im_client.__main__ import build_parser
from im_client.client import ImClient
from im_client.commands.options import make_config
from im_client.config import ClientConfig
from im_client.errors import MediaFailedError, SessionRefusedError
from im_client.im_invitation import ImInvitation
from im_client.im_session import ImSession
from im_client.media import MediaLine
from im_client.own_certificate import OwnCertificate
from im_client.transport import Target
from msrp_worker.msrp.fingerprint import fingerprint
from msrp_worker.sdp_msrp import Direction
from tests.im_client.relay import ALICE, BOB, PATIENCE, Pair, Passing, open_pair
from tests.im_client.test_im_session import Bob, chat

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECURE: dict[str, Any] = {"msrps": True, "media_seconds": 3.0}


def lines(body: bytes, start: str) -> list[str]:
    return [line for line in body.decode().splitlines() if line.startswith(start)]


async def invited(pair: Pair, bob: Bob) -> tuple[ImSession, ImSession, Passing, Passing]:
    """A session of both, the INVITE and its 200."""
    ours, theirs = await chat(pair, bob)
    return ours, theirs, await pair.relay.seen("alice INVITE"), await pair.relay.seen("bob 200 INVITE")


async def talk(ours: ImSession, theirs: ImSession) -> None:
    for sender, receiver in ((ours, theirs), (theirs, ours)):
        for body in (b"hello", bytes(range(256)) * 100):
            await sender.send(body, "application/octet-stream", success_report=True)
            assert (await receiver.receive()).body == body


def shown(line: MediaLine) -> tuple[str, bytes]:
    """Over what kind of connection a session runs, and the certificate that came over it."""
    session = line.peer.session
    assert session.link is not None
    return ("tls" if session.link.secure else "tcp", session.link.certificate or b"")


# --- the certificate


@pytest.mark.requirement("MED-04")
def test_a_certificate_is_made_in_memory() -> None:
    own = OwnCertificate.in_memory(ALICE, NOW)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    assert str(own.key.readlink()).startswith("/memfd:")
    made = x509.load_pem_x509_certificate(own.certificate.read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [ALICE]
    assert made.not_valid_before_utc < NOW - timedelta(hours=12)
    assert made.not_valid_after_utc > NOW + timedelta(days=300)
    key = own.key
    own.close()
    own.close()  # does nothing
    assert not key.exists()


@pytest.mark.requirement("MED-04", "IDN-04")
def test_a_certificate_for_nobody_names_nobody() -> None:
    first, second = (own_certificate.make("", NOW)[0] for _ in range(2))
    made = x509.load_pem_x509_certificate(first)
    assert list(made.extensions) == []
    assert first != second


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"msrps": True, "msrps_key": Path("key.pem")}, "go together"),
        ({"msrps": True, "msrps_certificate": Path("certificate.pem")}, "go together"),
        ({"msrps_certificate": Path("certificate.pem"), "msrps_key": Path("key.pem")}, "without msrps"),
        ({"msrps": True, "msrp_websocket": "ws://127.0.0.1/msrp"}, "exclude each other"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        ClientConfig(identity=ALICE, proxy=Target("127.0.0.1", 5060, "udp"), **options)


async def test_files_that_are_no_certificate(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    options: dict[str, Any] = {"msrps": True, "msrps_certificate": broken, "msrps_key": broken}
    client = ImClient(ClientConfig(identity=ALICE, proxy=Target("127.0.0.1", 5060, "udp"), **options))
    with pytest.raises(ValueError, match=r"broken\.pem"):
        await client.start()
    await client.close()


# --- sessions


@pytest.mark.requirement("MED-04", "CLI-02", "CLI-04")
async def test_both_over_tls() -> None:
    """TCP/TLS/MSRP, a path of msrps, a fingerprint and setup on both sides; each has seen the certificate that fits it."""
    async with open_pair("tcp", **SECURE) as pair:
        ours, theirs, invite, response = await invited(pair, Bob(pair))
        for passing, setup in ((invite, "actpass"), (response, "passive")):
            body = passing.data
            (media,) = lines(body, "m=")
            assert media.split()[2:] == ["TCP/TLS/MSRP", "*"]
            assert lines(body, "a=path:")[0].startswith("a=path:msrps://127.0.0.1:")
            assert lines(body, "a=setup:") == [f"a=setup:{setup}"]
        await talk(ours, theirs)
        for mine, passing in ((ours, response), (theirs, invite)):
            kind, certificate = shown(mine.line)
            assert kind == "tls"
            assert lines(passing.data, "a=fingerprint:") == [f"a=fingerprint:{fingerprint(certificate)}"]
        await ours.modify(Direction.INACTIVE)  # the same session, over the same connection
        await ours.modify(Direction.SENDRECV)
        await talk(ours, theirs)
        await ours.close()


@pytest.mark.requirement("MED-04")
async def test_a_certificate_from_files(tmp_path: Path) -> None:
    certificate, key = own_certificate.make(ALICE, datetime.now(UTC))
    (tmp_path / "own.pem").write_bytes(certificate)
    (tmp_path / "own.key").write_bytes(key)
    files = {"msrps_certificate": tmp_path / "own.pem", "msrps_key": tmp_path / "own.key"}
    async with open_pair("tcp", {"alice": files}, **SECURE) as pair:
        ours, theirs, invite, _ = await invited(pair, Bob(pair))
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).hexdigest().upper()
        expected = ":".join(digest[at : at + 2] for at in range(0, 64, 2))
        assert lines(invite.data, "a=fingerprint:") == [f"a=fingerprint:sha-256 {expected}"]
        await talk(ours, theirs)
        await ours.close()
    assert (tmp_path / "own.key").exists()


@pytest.mark.requirement("MED-04")
async def test_a_plain_offer_is_still_answered() -> None:
    """Who has msrps takes what is offered; a modification stays with that."""
    async with open_pair("tcp", {"bob": SECURE}) as pair:
        ours, theirs, _, response = await invited(pair, Bob(pair))
        assert lines(response.data, "a=fingerprint:") == []
        assert shown(theirs.line)[0] == "tcp"
        await theirs.modify(Direction.SENDONLY)
        await theirs.modify(Direction.SENDRECV)
        await talk(ours, theirs)
        await ours.close()


@pytest.mark.requirement("MED-04")
async def test_without_msrps_it_is_refused() -> None:
    async with open_pair("tcp", {"alice": SECURE}) as pair:
        bob = Bob(pair)
        calling = asyncio.ensure_future(pair.alice.invite(BOB))
        invitation = await bob.next()
        with pytest.raises(Exception, match="not served"):
            await invitation.accept()
        invitation.reject(488)
        with pytest.raises(SessionRefusedError, match="488"):
            await calling


def with_another_fingerprint(passing: Passing) -> bytes:
    """The same message with a description of another certificate; its length stays."""
    (line,) = lines(passing.data, "a=fingerprint:")
    name, _, digest = line.partition(" ")
    return passing.data.replace(line.encode(), f"{name} {digest[::-1]}".encode())


@pytest.mark.requirement("MED-04", "MED-10")
@pytest.mark.parametrize(("forged", "victim"), [("alice INVITE", "bob"), ("bob 200 INVITE", "alice")])
async def test_a_fingerprint_that_does_not_fit(forged: str, victim: str) -> None:
    """Of whoever connects, and of whom one connects to: no session comes up, and nothing is sent over it."""
    async with open_pair("udp", **{**SECURE, "media_seconds": 1.0}) as pair:
        bob = Bob(pair)

        def forge(passing: Passing) -> bool:
            if f"{passing.origin} {passing.what}" != forged:
                return True
            other = Passing(passing.origin, with_another_fingerprint(passing))
            pair.relay.send_on(other)
            return False

        pair.relay.filter = forge
        calling = asyncio.ensure_future(pair.alice.invite(BOB))
        accepting = asyncio.ensure_future((await bob.next()).accept())
        with pytest.raises(MediaFailedError):
            await (accepting if victim == "bob" else calling)
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([calling, accepting])


@pytest.mark.requirement("MED-04", "IDN-04")
async def test_anonymous_sessions_have_a_certificate_of_their_own() -> None:
    """RFC 4975 section 14.4: the certificate of the user must not show who is behind an anonymous session."""
    async with open_pair("tcp", **SECURE) as pair:
        bob = Bob(pair)
        named, named_theirs = await chat(pair, bob)
        hidden, hidden_theirs = await chat(pair, bob, anonymous=True)
        certificates = [shown(session.line)[1] for session in (named_theirs, hidden_theirs)]
        assert [b"alice" in certificate for certificate in certificates] == [True, False]
        await talk(hidden, hidden_theirs)
        for session in (named, hidden):
            await session.close()


@pytest.mark.requirement("MED-04")
async def test_a_move_to_another_transport() -> None:
    """A new offer takes a session in the clear to TLS: a new MSRP session, and offers of ours stay with it."""
    async with open_pair("tcp", {"bob": SECURE}) as pair:
        plain, secure = pair.alice.messaging, pair.bob.messaging
        line = secure.line(plain.plan())
        await line.answer(plain.line().offer())
        before = line.peer
        answer = await line.answer(secure.line().offer())
        assert line.peer is not before
        assert line.peer.session.local.secure
        assert lines(answer.data, "a=path:") == [f"a=path:{line.peer.path}"]
        assert b"TCP/TLS/MSRP" in line.change(Direction.INACTIVE).data


@pytest.mark.requirement("MED-04", "LRG-05")
async def test_several_files_in_one_session(tmp_path: Path) -> None:
    """Each line is over TLS, with a fingerprint of its own."""
    inbox = tmp_path / "in"
    inbox.mkdir()
    paths = [tmp_path / f"{number}.bin" for number in range(2)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 5_000)
    received: asyncio.Queue[Any] = asyncio.Queue()

    async def take(invitation: ImInvitation) -> None:
        received.put_nowait(await invitation.accept_files(inbox))

    async with open_pair("tcp", **SECURE) as pair:
        bob = Bob(pair)
        pair.bob.on_invite = take
        done = await pair.alice.send_files(BOB, paths)
        assert done.sent == tuple(paths)
        async with asyncio.timeout(PATIENCE):
            assert [one.path.read_bytes() for one in await received.get()] == [path.read_bytes() for path in paths]
        assert bob.invitations.empty()
        for what in ("alice INVITE", "bob 200 INVITE"):
            body = (await pair.relay.seen(what)).data
            assert [line.split()[2] for line in lines(body, "m=")] == ["TCP/TLS/MSRP"] * 2
            assert len(lines(body, "a=fingerprint:")) == 2


# --- the command line


@pytest.mark.requirement("MED-04", "CLI-02")
def test_options_of_the_commands(tmp_path: Path) -> None:
    account = ["--identity", ALICE, "--proxy", "127.0.0.1:5060"]
    files = ["--msrps-certificate", str(tmp_path / "own.pem"), "--msrps-key", str(tmp_path / "own.key")]
    plain = make_config(build_parser().parse_args(["chat", *account]))
    assert not plain.msrps
    made = make_config(build_parser().parse_args(["chat", *account, "--msrps"]))
    assert (made.msrps, made.msrps_certificate, made.msrps_key) == (True, None, None)
    given = make_config(build_parser().parse_args(["chat", *account, "--msrps", *files]))
    assert (given.msrps_certificate, given.msrps_key) == (tmp_path / "own.pem", tmp_path / "own.key")
    with pytest.raises(ValueError, match="without msrps"):
        make_config(build_parser().parse_args(["chat", *account, *files]))
