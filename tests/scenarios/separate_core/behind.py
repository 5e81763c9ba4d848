"""The IM server behind a real core: a plain Kamailio that knows the users' devices and has filter criteria (`core.cfg`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from im_client.client import ImClient
from im_client.config import ClientConfig
from im_client.transport import Target
from tests.scenarios.bed import Instance, free_port, wait_until
from tools.deployment import KAMAILIO, Process, kamailio_database_url, sip_options

CONFIG = Path(__file__).parent / "core.cfg"
ADDRESS = "127.0.0.1"


class Behind(Instance):
    """An instance whose clients know the core alone: `sip_port` is the core's."""

    def __init__(self, directory: Path, settings: Mapping[str, str], **options: Any) -> None:
        self.core_port = free_port()
        peers = ",".join(filter(None, (ADDRESS, settings.get("IM_TRUSTED_PEERS", ""))))
        core = {"IM_TRUSTED_PEERS": peers, "IM_CORE_URI": f"sip:{ADDRESS}:{self.core_port}"}
        super().__init__(directory, {**settings, **core}, **options)
        config = self.deployment.config
        defines = {
            "CORE_LISTEN": f"{ADDRESS}:{self.core_port}",
            "CORE_USERS": f'"{kamailio_database_url(config)}"',
            "IM_SIP": config.sip_port,
            "IM_ORIGINATING": config.originating_port,
            "IM_TERMINATING": config.terminating_port,
        }
        arguments = [KAMAILIO, "-DD", "-E", "-f", str(CONFIG), "-m", "64", "-M", "8", "-Y", str(self.state_dir)]
        for name, value in defines.items():
            arguments += ["-A", f"{name}={value}"]
        self._core = Process("core", arguments, {}, directory / "core.log")

    @property
    def sip_port(self) -> int:
        """Port of the core."""
        return self.core_port

    def start(self) -> None:
        """The core too."""
        super().start()
        self._core.start()
        wait_until(lambda: sip_options(ADDRESS, self.core_port), "the core answers SIP")

    def stop(self) -> None:
        """The core too."""
        self._core.stop()
        super().stop()

    def client(self, user: str, *, transport: str = "udp", password: str = "", **options: Any) -> ImClient:
        """An IM client of `user` at the core."""
        config = ClientConfig(
            identity=f"sip:{user}@{self.deployment.config.domain}",
            password=password or f"{user}-secret",
            proxy=Target(ADDRESS, self.core_port, transport),
            **options,
        )
        return ImClient(config)

    def criteria(self) -> list[str]:
        """Each request that the core has sent here: the mark of the criterion, method and Request-URI."""
        log = (self.directory / "core.log").read_text(errors="replace")
        return [line.partition("CORE criterion ")[2] for line in log.splitlines() if "CORE criterion " in line]


@contextmanager
def behind_with(directory: Path, settings: Mapping[str, str], **options: Any) -> Iterator[Behind]:
    """The IM server behind a core, with settings (`IM_…`)."""
    instance = Behind(directory, settings, **options)
    try:
        instance.start()
        yield instance
    finally:
        instance.stop()
