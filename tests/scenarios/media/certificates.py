"""Certificates of tests: signed by themselves, or by an authority."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

from tests.scenarios.tls.test_sip import make_certificate


class Certificate:
    """A certificate for 127.0.0.1 and example.com with its key, as files."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.file, self.key = make_certificate(directory)

    @property
    def fingerprint(self) -> str:
        """As in a=fingerprint, computed beside the product (RFC 8122 section 5)."""
        der = ssl.PEM_cert_to_DER_cert(self.file.read_text())
        digest = hashlib.sha256(der).hexdigest().upper()
        return "sha-256 " + ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))

    def client(self, trusted: Path | None = None, *, show: bool = True) -> ssl.SSLContext:
        """For a connection to the worker: `trusted` is its certificate, None takes any; `show` presents ours."""
        context = ssl.create_default_context(cafile=trusted)
        if trusted is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if show:
            context.load_cert_chain(self.file, self.key)
        return context

    def server(self, trusted: Path | None = None) -> ssl.SSLContext:
        """For a connection of the worker; with `trusted` it has to show that certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        if trusted is not None:
            context.load_verify_locations(trusted)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
