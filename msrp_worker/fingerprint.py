"""Certificate fingerprints in SDP (RFC 8122): read, written, and compared with a certificate (MED-04)."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

from msrp_worker.sdp import SdpError

# Preferred first. MD5 and MD2 must not be used to verify (RFC 8122 5); SHA-1 stays for older clients.
_STRENGTH = ("sha-512", "sha-384", "sha-256", "sha-224", "sha-1")
_VALUE = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A hash function's name in lower case, and the digest in bytes."""

    algorithm: str
    digest: bytes

    def build(self) -> str:
        """The attribute's value: `sha-256 AB:CD:…`."""
        return f"{self.algorithm} {self.digest.hex(':').upper()}"


def parse(value: str) -> Fingerprint:
    """Read an attribute's value; raises SdpError. Lower-case hex is read too, as several clients write it."""
    algorithm, _, digest = value.strip().partition(" ")
    digest = digest.strip()
    if not algorithm or not _VALUE.fullmatch(digest):
        raise SdpError("malformed fingerprint")
    return Fingerprint(algorithm.lower(), bytes.fromhex(digest.replace(":", "")))


def of_certificate(certificate: bytes, algorithm: str = "sha-256") -> Fingerprint:
    """Fingerprint of a certificate in DER. `algorithm` is one of RFC 8122's names."""
    return Fingerprint(algorithm, hashlib.new(algorithm.replace("-", ""), certificate).digest())


def matches(fingerprints: Iterable[Fingerprint], certificate: bytes) -> bool:
    """Whether a certificate in DER is the one announced: of the hash functions announced the strongest we
    know is used, and any fingerprint made with it may match (RFC 8122 5). False when we know none of them."""
    announced = list(fingerprints)
    for algorithm in _STRENGTH:
        candidates = [item.digest for item in announced if item.algorithm == algorithm]
        if candidates:
            digest = of_certificate(certificate, algorithm).digest
            return any(hmac.compare_digest(digest, candidate) for candidate in candidates)
    return False
