"""The certificate that this client shows on msrps connections: one from files, or one made for itself in memory.

A certificate of one's own proves nothing by itself: the other side holds it against the a=fingerprint of our description
(RFC 8122 section 5), so it is as good as the way that description took (RFC 4975 section 14.4).
"""  # MED-04

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID = timedelta(days=365)
"""How long a certificate made here says it is valid: longer than any client runs without a restart."""
BEFORE = timedelta(days=1)
"""How much earlier it begins, for peers whose clocks are behind."""


class OwnCertificate:
    """Certificate and key as `msrp.EndpointConfig` wants them: as paths. `close` when no connection needs them."""

    def __init__(self, certificate: Path, key: Path, descriptors: tuple[int, ...] = ()) -> None:
        self.certificate = certificate
        self.key = key
        self._descriptors = descriptors

    @classmethod
    def in_memory(cls, identity: str, now: datetime) -> OwnCertificate:
        """A new self-signed one for an IM address, or for nobody; its key is never written to a disk."""
        descriptors = tuple(_in_memory(content) for content in make(identity, now))
        certificate, key = (Path(f"/proc/self/fd/{descriptor}") for descriptor in descriptors)
        return cls(certificate, key, descriptors)

    def close(self) -> None:
        """Forget a certificate in memory; files stay."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = ()


def make(identity: str, now: datetime) -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, PEM. The address, if any, is its subjectAltName (RFC 4975 section 14.4)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "IM client")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - BEFORE)
        .not_valid_after(now.astimezone(UTC) + VALID)
    )
    if identity:
        address = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
        builder = builder.add_extension(address, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _in_memory(content: bytes) -> int:
    """A file without a place in any file system."""
    descriptor = os.memfd_create("msrps", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    return descriptor
