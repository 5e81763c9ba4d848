"""The client over TLS: requests come in on the connection it opened."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from im_client.errors import ConnectionFailedError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with key and self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(tz=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "peer.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture
def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.requirement("CLI-01", "CLI-05")
async def test_register_send_and_receive(make_stage, server_side, certificate: Path) -> None:
    stage = await make_stage("tls", tls=server_side, tls_ca=certificate)
    request = await stage.register()
    address = stage.peer.writers[-1].get_extra_info("peername")
    assert stage.client.endpoint.local == address
    assert request.header("Contact") == "<sip:alice@{}:{};transport=tls>;+g.oma.sip-im".format(*address)
    assert request.header("Via").startswith("SIP/2.0/TLS {}:{};".format(*address))
    task = stage.start(stage.client.send("sip:bob@example.com", b"x" * 5000))
    request = await stage.peer.expect("MESSAGE")
    assert request.message.body == b"x" * 5000
    request.reply(200)
    await task
    raw = stage.peer.request()
    stage.peer.send(raw)
    await stage.peer.expect(200)
    assert (await stage.client.next_message()).raw == raw


@pytest.mark.requirement("CLI-01")
async def test_a_new_connection_moves_the_binding(make_stage, server_side, certificate: Path) -> None:
    stage = await make_stage("tls", tls=server_side, tls_ca=certificate)
    first = await stage.register()
    stage.peer.writers[-1].close()
    second = await stage.peer.expect("REGISTER")
    new, old = second.message.headers.getlist("Contact")
    assert new != first.header("Contact")
    assert new.endswith(";+g.oma.sip-im")
    assert old == first.header("Contact").replace(";+g.oma.sip-im", ";expires=0")
    second.reply(200, "OK")
    task = stage.start(stage.client.deregister())
    third = await stage.peer.expect("REGISTER")
    assert third.message.headers.getlist("Contact") == [new]
    third.reply(200, "OK")
    await task


async def test_an_unknown_certificate_is_refused(make_stage, server_side) -> None:
    with pytest.raises(ConnectionFailedError, match="certificate verify failed"):
        await make_stage("tls", tls=server_side)


async def test_any_certificate_is_taken_where_that_is_asked_for(make_stage, server_side) -> None:
    stage = await make_stage("tls", tls=server_side, tls_verify=False)
    await stage.register()
