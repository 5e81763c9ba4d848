"""Where the MSRP sessions of one client live: listeners, and with `ClientConfig.msrps` the certificates they show."""

from __future__ import annotations

from datetime import UTC, datetime

from msrp_worker.msrp import EndpointConfig, MsrpEndpoint

from .config import ClientConfig
from .own_certificate import OwnCertificate


class MediaEndpoints:
    """`named` for the sessions of the user; `anonymous` for those in which nobody shall learn who that is."""

    def __init__(self, config: ClientConfig, host: str) -> None:
        """`host` is the IP address to listen on. Raises OSError where a certificate in memory is not possible."""
        self._certificates: list[OwnCertificate] = []
        if not config.msrps:
            self.named = self.anonymous = MsrpEndpoint(EndpointConfig(listen=host, port=config.msrp_port))
            return
        now = datetime.now(UTC)
        if config.msrps_certificate is not None and config.msrps_key is not None:
            own = OwnCertificate(config.msrps_certificate, config.msrps_key)
        else:
            own = OwnCertificate.in_memory(str(config.identity_uri), now)
        # an endpoint that makes anonymous sessions MUST have a certificate of its own for them (RFC 4975 section 14.4)
        nameless = OwnCertificate.in_memory("", now)
        self._certificates += [own, nameless]
        self.named = MsrpEndpoint(_with_tls(config, host, own, config.msrp_port, config.msrps_port))
        self.anonymous = MsrpEndpoint(_with_tls(config, host, nameless, None, 0))

    async def start(self) -> None:
        """Open the listeners. Raises OSError where a port is taken, ValueError for a certificate that cannot be used."""
        try:
            await self.named.start()
            if self.anonymous is not self.named:
                await self.anonymous.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the listeners and what is left of sessions."""
        await self.named.stop()
        if self.anonymous is not self.named:
            await self.anonymous.stop()
        for certificate in self._certificates:
            certificate.close()


def _with_tls(
    config: ClientConfig, host: str, own: OwnCertificate, port: int | None, tls_port: int
) -> EndpointConfig:  # MED-04
    return EndpointConfig(
        listen=host,
        port=port,
        tls_port=tls_port,
        tls_certificate=own.certificate,
        tls_key=own.key,
        tls_authorities=config.tls_ca,
    )
