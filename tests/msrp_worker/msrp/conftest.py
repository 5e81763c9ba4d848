"""Endpoints on free ports, certificates made for the run."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from msrp_worker.msrp import EndpointConfig, MsrpEndpoint, logs
from msrp_worker.msrp.fingerprint import fingerprint


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for localhost."""

    certificate: Path
    key: Path
    fingerprint: str


def make_certificate(folder: Path, name: str) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = Certificate(
        folder / f"{name}.pem",
        folder / f"{name}.key",
        fingerprint(certificate.public_bytes(serialization.Encoding.DER)),
    )
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, Certificate]:
    """Alice's and Bob's."""
    folder = tmp_path_factory.mktemp("certificates")
    return make_certificate(folder, "alice"), make_certificate(folder, "bob")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both loops: the worker runs on uvloop, others may not."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def unlimited_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tests in one second say the same thing."""
    monkeypatch.setattr(logs, "MAX_PER_SECOND", 1_000_000)


MakeEndpoint = Callable[..., Awaitable[MsrpEndpoint]]


@pytest.fixture
async def make_endpoint() -> AsyncIterator[MakeEndpoint]:
    """Starts endpoints on free ports; stops them after the test."""
    started: list[MsrpEndpoint] = []

    async def make(**fields: object) -> MsrpEndpoint:
        endpoint = MsrpEndpoint(EndpointConfig(**({"port": 0, "tick_seconds": 0.01} | fields)))  # type: ignore[arg-type]
        await endpoint.start()
        started.append(endpoint)
        return endpoint

    yield make
    await asyncio.gather(*(endpoint.stop() for endpoint in started))


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for something that another task or the peer brings about."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)
