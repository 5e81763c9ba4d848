"""Certificate fingerprints of SDP (RFC 8122): compute and compare. No I/O."""

from __future__ import annotations

import hashlib
import hmac

HASHES = ("sha-512", "sha-384", "sha-256", "sha-224", "sha-1")
"""Hash functions taken, the preferred first. MD5 and MD2 MUST NOT be used (section 5)."""


def fingerprint(certificate: bytes, hash_name: str = "sha-256") -> str:
    """`hash-func SP fingerprint` of a DER certificate; raises ValueError for a hash that is not taken."""
    name = hash_name.lower()
    if name not in HASHES:
        raise ValueError(f"hash function {hash_name!r} is not used")
    digest = hashlib.new(name.replace("-", ""), certificate, usedforsecurity=True).hexdigest().upper()
    return f"{name} {':'.join(digest[at : at + 2] for at in range(0, len(digest), 2))}"


def certificate_matches(certificate: bytes | None, offered: tuple[str, ...]) -> bool:
    """Whether the certificate has one of the fingerprints, taken from a=fingerprint.

    Of several hash functions only the most preferred counts (section 5.1). False without a certificate, and
    where no offered hash is one we use.
    """  # MED-04
    if certificate is None:
        return False
    by_hash: dict[str, list[str]] = {}
    for value in offered:
        name, _, digest = value.strip().partition(" ")
        by_hash.setdefault(name.lower(), []).append(digest.strip().upper())
    for name in HASHES:
        if name in by_hash:
            own = fingerprint(certificate, name).partition(" ")[2]
            return any(hmac.compare_digest(own.encode(), digest.encode()) for digest in by_hash[name])
    return False
