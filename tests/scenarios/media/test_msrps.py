"""msrps: TLS on both sides of the worker, certificates bound to SDP by their fingerprints (RFC 4975 14, RFC 8122)."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from im_client.im_invitation import ImInvitation
from im_client.im_session import ImSession
from tests.scenarios.bed import DOMAIN, Instance, instance_with, wait_until
from tests.scenarios.media.certificates import Certificate
from tests.scenarios.media.parties import (
    SDP_TYPE,
    Party,
    assert_talking,
    attribute,
    attributes,
    description,
    hang_up,
    idle,
    media_line,
    metrics,
    refused,
    talk,
    two_parties,
)
from tests.scenarios.media.wire import MsrpSocket

NewUser = Callable[..., str]
SECONDS = 15.0
"""Longest wait for the other client."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("alice"))


@pytest.fixture(scope="module")
def bob(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("bob"))


@pytest.fixture(scope="module")
def instance(server: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    settings = {
        "IM_MEDIA_PATH": "always",
        "IM_TLS_CERTIFICATE": str(server.file),
        "IM_TLS_KEY": str(server.key),
    }
    with instance_with(tmp_path_factory.mktemp("msrps"), settings) as running:
        yield running
        assert "Traceback" not in running.worker_log()


def mark(certificate: Certificate) -> str:
    return f"a=fingerprint:{certificate.fingerprint}"


@pytest.mark.requirement("MED-04", "SEC-04")
def test_both_sides_over_tls(
    instance: Instance, new_user: NewUser, server: Certificate, alice: Certificate, bob: Certificate
) -> None:
    """Port 2856, msrps paths, the worker's fingerprint in its offer and its answer; both certificates are verified."""
    port = instance.deployment.config.msrps_port
    with two_parties(instance, new_user(), new_user(), secure=True) as (caller, callee):
        offer, answer = caller.describe(mark(alice)), callee.describe(mark(bob), setup="passive")
        invite, response = talk(caller, callee, offer, answer)
        for message in (invite, response):
            assert attribute(message.body, "fingerprint") == server.fingerprint
            assert attribute(message.body, "path").startswith(f"msrps://127.0.0.1:{port}/")
            assert media_line(message.body) == f"m=message {port} TCP/TLS/MSRP *"
        one = caller.bind(tls=alice.client(server.file))
        other = callee.accept(tls=bob.server(server.file))
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)
    idle(instance)


@pytest.mark.requirement("MED-04", "MED-05")
def test_an_active_callee_over_tls(
    instance: Instance, new_user: NewUser, server: Certificate, alice: Certificate, bob: Certificate
) -> None:
    """Both connect to us, each with its own certificate."""
    with two_parties(instance, new_user(), new_user(), secure=True) as (caller, callee):
        talk(caller, callee, caller.describe(mark(alice)), callee.describe(mark(bob), setup="active"))
        one, other = caller.bind(tls=alice.client(server.file)), callee.bind(tls=bob.client(server.file))
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-04")
def test_without_fingerprints(instance: Instance, new_user: NewUser, server: Certificate, alice: Certificate) -> None:
    """Who offers none may come with any certificate or without one: its URI is the secret (RFC 4975 section 14.4)."""
    with two_parties(instance, new_user(), new_user(), secure=True) as (caller, callee):
        talk(caller, callee, answer=callee.describe(setup="active"))
        one = caller.bind(tls=alice.client(server.file, show=False))
        other = callee.bind(tls=alice.client(server.file))
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-04", "MED-10")
@pytest.mark.parametrize("shown", ["another", "none"])
def test_a_connecting_peer_with_another_certificate(
    instance: Instance, new_user: NewUser, alice: Certificate, bob: Certificate, shown: str
) -> None:
    """403 and the end of that connection; the peer that SDP speaks of is served after it."""
    with two_parties(instance, new_user(), new_user(), secure=True) as (caller, callee):
        talk(caller, callee, caller.describe(mark(alice)), callee.describe(mark(bob), setup="active"))
        thief = caller.connect(tls=bob.client(show=shown == "another"))
        assert thief.ask(caller.greeting()) == 403
        assert thief.closed()
        one, other = caller.bind(tls=alice.client()), callee.bind(tls=bob.client())
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-04", "PFS-09")
def test_a_callee_with_another_certificate(
    instance: Instance, new_user: NewUser, alice: Certificate, bob: Certificate
) -> None:
    """We connect and find another certificate than its answer says: nothing is sent there, both sides are released."""
    with two_parties(instance, new_user(), new_user(), secure=True) as (caller, callee):
        talk(caller, callee, caller.describe(mark(alice)), callee.describe(mark(bob), setup="passive"))
        impostor = callee.listener.accept(tls=alice.server())
        assert impostor.closed()
        caller.released()
        callee.released()
    idle(instance)


@pytest.mark.requirement("MED-04", "PFS-09")
def test_a_callee_that_nobody_vouches_for(instance: Instance, new_user: NewUser, bob: Certificate) -> None:
    """No fingerprint, and a certificate that no authority has signed: no connection, both sides are released."""
    with two_parties(instance, new_user(), new_user(), secure=True) as (caller, callee):
        talk(caller, callee, answer=callee.describe(setup="passive"))
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            callee.listener.accept(tls=bob.server())
        caller.released()
        callee.released()
    idle(instance)


@pytest.mark.requirement("MED-04", "SEC-04")
def test_tls_is_not_left_out(instance: Instance, new_user: NewUser, alice: Certificate) -> None:
    """An msrps session is not bound on the msrp port, and a TLS offer is not answered without TLS."""
    with two_parties(instance, new_user(), new_user(), secure=True) as (caller, callee):
        talk(caller, callee, answer=callee.describe(setup="active"))
        with MsrpSocket.to(instance.deployment.config.msrp_port) as plain:
            assert plain.ask(caller.greeting()) == 403
            assert plain.ask(caller.greeting(caller.server.replace("msrps:", "msrp:"))) == 481
        one, other = caller.bind(tls=alice.client()), callee.bind(tls=alice.client())
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)
    with two_parties(instance, new_user(), new_user(), secure=True) as (caller, callee):
        callee.agent.register()
        call_id = caller.invite(callee.agent.user, caller.describe())
        invite = callee.invited()
        plain_path = callee.path.replace("msrps:", "msrp:")
        answer = description(plain_path, callee.listener.port, setup="passive")
        callee.agent.reply(invite, 200, "OK", callee.contact, SDP_TYPE, body=answer)
        assert caller.answered(call_id).status == 488
        callee.released()


@pytest.mark.requirement("MED-04", "SEC-04")
def test_plain_sessions_beside(instance: Instance, new_user: NewUser) -> None:
    """Who offers msrp gets msrp, without a fingerprint."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        invite, response = talk(caller, callee)
        for message in (invite, response):
            assert attributes(message.body, "fingerprint") == []
            assert media_line(message.body) == f"m=message {instance.deployment.config.msrp_port} TCP/MSRP *"
        one, other = caller.bind(), callee.accept()
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("SEC-04")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_are_refused(instance: Instance) -> None:
    """TLS 1.2 and later only."""
    spoken = []
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with socket.create_connection(("127.0.0.1", instance.deployment.config.msrps_port), timeout=5) as connection:
            try:
                with context.wrap_socket(connection) as secured:
                    spoken.append(secured.version())
            except (ssl.SSLError, ConnectionResetError):
                pass
    assert spoken == ["TLSv1.2", "TLSv1.3"]


@pytest.mark.requirement("SEC-04", "SEC-05")
def test_what_is_not_tls_harms_nothing(instance: Instance, new_user: NewUser, alice: Certificate) -> None:
    """Plain MSRP and noise on the TLS port are closed, a handshake that stops half-way is after ten seconds."""
    port = instance.deployment.config.msrps_port
    with MsrpSocket.to(port) as half:
        half.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        for data in (b"MSRP abcd SEND\r\n\r\n", bytes(5000), b"GET / HTTP/1.1\r\n\r\n"):
            with MsrpSocket.to(port) as stranger:
                stranger.send(data)
                assert stranger.closed(3)
        with two_parties(instance, new_user(), new_user(), secure=True) as (caller, callee):
            talk(caller, callee, answer=callee.describe(setup="active"))
            one, other = caller.bind(tls=alice.client()), callee.bind(tls=alice.client())
            assert_talking(one, caller, other, callee)
            hang_up(caller, callee)
        assert half.closed(15)
    assert "TLS handshake took too long" in instance.worker_log()


def shown(instance: Instance) -> str:
    """Fingerprint of the certificate that the msrps port shows."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with MsrpSocket.to(instance.deployment.config.msrps_port, tls=context) as connection:
        assert isinstance(connection.socket, ssl.SSLSocket)
        der = connection.socket.getpeercert(binary_form=True)
    assert der is not None
    digest = hashlib.sha256(der).hexdigest().upper()
    return "sha-256 " + ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


@pytest.mark.requirement("SEC-04", "MED-04")
def test_a_renewed_certificate_without_a_restart(tmp_path: Path, alice: Certificate) -> None:
    """SIGHUP: new connections and new SDP have the new certificate, a session goes on; a broken file changes nothing."""
    old, new = Certificate(tmp_path / "old"), Certificate(tmp_path / "new")
    used, key = tmp_path / "used.pem", tmp_path / "used.key"
    shutil.copy(old.file, used)
    shutil.copy(old.key, key)
    settings = {"IM_MEDIA_PATH": "always", "IM_TLS_CERTIFICATE": str(used), "IM_TLS_KEY": str(key)}
    logs = tmp_path / "logs"
    logs.mkdir()
    with instance_with(logs, settings) as instance:
        worker = instance.deployment.worker
        users = [f"sip:renewed{number}@example.com" for number in range(4)]
        for user in users:
            name = user[4:].partition("@")[0]
            instance.in_store(lambda store, user=user, name=name: store.users.add(user, f"{name}-secret"))
        with two_parties(instance, "renewed0", "renewed1", secure=True) as (caller, callee):
            invite, _ = talk(caller, callee, answer=callee.describe(setup="active"))
            assert attribute(invite.body, "fingerprint") == shown(instance) == old.fingerprint
            one, other = caller.bind(tls=alice.client(old.file)), callee.bind(tls=alice.client(old.file))

            shutil.copy(new.file, used)  # the key does not fit it yet
            worker.send(signal.SIGHUP)
            wait_until(lambda: "certificate not reloaded" in instance.worker_log(), "the refusal")
            assert shown(instance) == old.fingerprint

            shutil.copy(new.key, key)
            worker.send(signal.SIGHUP)
            wait_until(lambda: "certificate reloaded" in instance.worker_log(), "the reload")
            assert shown(instance) == new.fingerprint
            assert_talking(one, caller, other, callee)
            hang_up(caller, callee)
        with two_parties(instance, "renewed2", "renewed3", secure=True) as (caller, callee):
            invite, response = talk(caller, callee, answer=callee.describe(setup="active"))
            for message in (invite, response):
                assert attribute(message.body, "fingerprint") == new.fingerprint
            one, other = caller.bind(tls=alice.client(new.file)), callee.bind(tls=alice.client(new.file))
            assert_talking(one, caller, other, callee)
            hang_up(caller, callee)


@pytest.mark.requirement("MED-04", "SEC-04")
def test_tls_where_none_is_configured(tmp_path: Path) -> None:
    """488 with the reason, the recipient's device hears nothing; there is no msrps port."""
    with instance_with(tmp_path, {"IM_MEDIA_PATH": "always"}) as instance:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", instance.deployment.config.msrps_port)) != 0
        with Party(instance, "alice", secure=True) as caller, Party(instance, "bob") as callee:
            response = refused(caller, callee, caller.describe())
            assert response.status == 488
            assert "TCP/TLS/MSRP" in response.value("Warning")


async def chat_of_clients(instance: Instance, caller: str, callee: str, bridged: bool, files: dict[str, Any]) -> None:
    """Two reference clients over msrps: each sees the certificate of whom it is connected to."""
    ends: asyncio.Queue[ImSession] = asyncio.Queue()

    async def accept(invitation: ImInvitation) -> None:
        ends.put_nowait(await invitation.accept())

    async with instance.client(caller, msrps=True, **files) as one, instance.client(callee, msrps=True) as two:
        two.on_invite = accept
        await one.register()
        await two.register()
        outgoing = await one.invite(f"sip:{callee}@{DOMAIN}")
        async with asyncio.timeout(SECONDS):
            incoming = await ends.get()
        assert metrics(instance)["im_sessions_bridged"] == bridged
        own = [client.messaging.endpoints.named for client in (one, two)]
        for session, other in ((outgoing, own[1]), (incoming, own[0])):
            peer = session.line.peer.session
            assert peer.link is not None
            assert peer.link.secure
            assert peer.remote[0].secure
            (found,) = peer.fingerprints
            assert peer.link.certificate_matches((found,))
            assert (found == other.fingerprint) is not bridged
            assert (peer.remote[0].port == instance.deployment.config.msrps_port) is bridged
        for sender, receiver in ((outgoing, incoming), (incoming, outgoing)):
            for body in ("gr\u00fc\u00dfe", "x" * 100_000):
                await sender.send(body, success_report=True)
                assert (await receiver.receive()).text == body
        await outgoing.close()
        async with asyncio.timeout(SECONDS):
            await incoming.ended


@pytest.mark.requirement("MED-04", "MED-05", "CLI-02", "CLI-04")
@pytest.mark.parametrize("made", ["in memory", "from files"])
async def test_clients_with_the_worker_between_them(
    instance: Instance, new_user: NewUser, alice: Certificate, made: str
) -> None:
    files = {"msrps_certificate": alice.file, "msrps_key": alice.key} if made == "from files" else {}
    await chat_of_clients(instance, new_user(), new_user(), True, files)
    await asyncio.to_thread(idle, instance)


@pytest.mark.requirement("MED-04", "MED-05", "CLI-02", "CLI-04", "PFS-02")
async def test_clients_with_the_worker_out_of_the_path(tmp_path: Path) -> None:
    """From client to client, through a server that has no certificate at all."""
    with instance_with(tmp_path) as plain:
        await chat_of_clients(plain, "alice", "bob", False, {})


@pytest.mark.requirement("MED-04", "DEF-03")
async def test_a_client_fetches_what_waits_for_it(instance: Instance, new_user: NewUser) -> None:
    """The Deferred Messaging Function takes an offer of msrps, and checks the certificate of who comes."""
    sender, recipient = new_user(), new_user()
    async with instance.client(sender) as one:
        assert (await one.send(f"sip:{recipient}@{DOMAIN}", "while you were away")).status == 202
    async with instance.client(recipient, msrps=True) as two:
        await two.register()
        (message,) = await two.deferred_get()
    assert message.body == b"while you were away"


@pytest.mark.requirement("MED-04", "MED-07", "CNF-09")
async def test_a_conference_of_clients_with_and_without_tls(instance: Instance, new_user: NewUser) -> None:
    """The focus gives each its own transport: the first over msrps, the second in the clear."""
    ends: asyncio.Queue[ImSession] = asyncio.Queue()

    async def accept(invitation: ImInvitation) -> None:
        ends.put_nowait(await invitation.accept())

    first, second = new_user(), new_user()
    async with instance.client(first, msrps=True) as one, instance.client(second) as two:
        two.on_invite = accept
        await one.register()
        await two.register()
        conference = await one.start_conference([f"sip:{second}@{DOMAIN}"])
        async with asyncio.timeout(SECONDS):
            other = await ends.get()
        mine = conference.session.line.peer.session
        assert mine.link is not None
        assert (mine.link.secure, mine.fingerprints) == (True, (shown(instance),))
        await conference.session.send("hello")
        assert (await other.receive()).text == "hello"
        await conference.session.close()
