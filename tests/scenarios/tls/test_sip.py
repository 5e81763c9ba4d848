"""SIP over TLS, switched on by a certificate and its key (SEC-04)."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.scenarios.bed import Instance, instance_with
from tests.scenarios.health import Whole

EVERY_BYTE = bytes(range(256))


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and example.com, signed by itself, and its key; as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.com")])
    names = [x509.DNSName("example.com"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.now(tz=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / "certificate.pem", directory / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return certificate_file, key_file


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def instance(authority: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    settings = {"IM_TLS_CERTIFICATE": str(authority[0]), "IM_TLS_KEY": str(authority[1])}
    with instance_with(tmp_path_factory.mktemp("tls"), settings) as running:
        yield running


@pytest.mark.requirement("SEC-04", "PAG-05", "PAG-09", "COR-07")
async def test_exchange(instance: Instance, new_user: Callable[..., str], authority: tuple[Path, Path]) -> None:
    """Both register over TLS, verify the certificate, and exchange messages; the message comes down the same connection."""
    one, other = new_user(), new_user()
    async with (
        instance.client(one, transport="tls", tls_ca=authority[0]) as alice,
        instance.client(other, transport="tls", tls_ca=authority[0]) as bob,
    ):
        for client in (alice, bob):
            assert (await client.register()).status == 200
        for sender, receiver in ((alice, bob), (bob, alice)):
            body = EVERY_BYTE * 60
            assert (await sender.send(receiver.config.identity, body)).status == 200
            message = await receiver.next_message()
            assert (message.body, message.sender) == (body, sender.config.identity)


@pytest.mark.requirement("SEC-04", "DEF-01")
async def test_deferred_and_mixed(instance: Instance, new_user: Callable[..., str], authority: tuple[Path, Path]) -> None:
    """A message for an absent user is kept; users on UDP and on TLS reach each other."""
    one, other, absent = new_user(), new_user(), new_user()
    async with (
        instance.client(one, transport="tls", tls_ca=authority[0]) as alice,
        instance.client(other) as bob,
    ):
        await alice.register()
        await bob.register()
        assert (await alice.send(f"sip:{absent}@example.com", EVERY_BYTE * 100)).status == 202
        (entry,) = instance.stored(absent)
        kept = instance.stored_bytes(absent, entry["message_id"])
        assert kept.endswith(b"\r\n\r\n" + EVERY_BYTE * 100)
        assert b"SIP/2.0/TLS" in kept
        assert (await alice.send(bob.config.identity, b"to UDP")).status == 200
        assert (await bob.next_message()).body == b"to UDP"
        assert (await bob.send(alice.config.identity, b"to TLS")).status == 200
        assert (await alice.next_message()).body == b"to TLS"


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
        with socket.create_connection(("127.0.0.1", instance.deployment.config.sips_port), timeout=5) as connection:
            try:
                with context.wrap_socket(connection) as secured:
                    spoken.append(secured.version())
            except (ssl.SSLError, ConnectionResetError):
                pass
    assert spoken == ["TLSv1.2", "TLSv1.3"]


@pytest.mark.requirement("SEC-04", "SEC-05")
async def test_what_is_not_tls_harms_nothing(
    instance: Instance, new_user: Callable[..., str], authority: tuple[Path, Path]
) -> None:
    """Plain SIP, noise and a handshake that stops half-way on the TLS port; a client beside them is served."""
    user, absent = new_user(), new_user()
    port = instance.deployment.config.sips_port
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    with Whole(instance):
        waiting = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(50)]
        for number, connection in enumerate(waiting):
            connection.sendall((b"OPTIONS sip:x SIP/2.0\r\n\r\n", b"\0\xff" * 5000, hello)[number % 3])
        async with instance.client(user, transport="tls", tls_ca=authority[0]) as client:
            assert (await client.register()).status == 200
            assert (await client.send(f"sip:{absent}@example.com", b"beside")).status == 202
        for connection in waiting:
            connection.close()


@pytest.mark.requirement("SEC-04")
def test_without_a_certificate_there_is_no_tls_port(tmp_path: Path) -> None:
    """It is off by default."""
    with instance_with(tmp_path) as plain, socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", plain.deployment.config.sips_port)) != 0
