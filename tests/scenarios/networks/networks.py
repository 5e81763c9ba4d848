"""Two home networks: each a host of its own with Kamailio and worker, and between them the network with the users' clients.

    home1.example 10.92.1.1 --- 10.92.1.254 (clients, name server, router) 10.92.2.254 --- 10.92.2.1 home2.example

The domains find each other by DNS, as any two SIP domains do, and each names the other's address in IM_TRUSTED_PEERS: what
one asserts about its users, the other believes. A third domain, elsewhere.example, is on the clients' host and trusted by
nobody.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from im_client.client import ImClient
from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance, instance_with
from tests.scenarios.name_server import NameServer
from tests.scenarios.namespaces import Namespace, cable

DOMAINS = ("home1.example", "home2.example")
SERVERS = ("10.92.1.1", "10.92.2.1")
"""Addresses inside the namespaces only."""
GATEWAYS = ("10.92.1.254", "10.92.2.254")
ELSEWHERE = "elsewhere.example"
"""A domain without a server: whoever binds port 5060 of the first gateway is it."""
_numbers = itertools.count(1)


class Home:
    """One home network: its instance, its domain, its users."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.domain = instance.deployment.config.domain
        self.address = instance.deployment.config.listen

    def new_user(self, **values: str) -> str:
        """A user of the test's own, with `user set` values; its name. The password is the name followed by `-secret`."""
        name = f"user{next(_numbers)}"
        self.instance.in_store(lambda store: store.users.add(self.uri(name), f"{name}-secret"))
        if values:
            self.instance.command("user", "set", name, *(f"{key}={value}" for key, value in values.items()))
        return name

    def uri(self, user: str) -> str:
        """The IM address of a user."""
        return f"sip:{user}@{self.domain}"

    def client(self, user: str, *, transport: str = "udp", **options: Any) -> ImClient:
        """A client of a user of this home, outside of both; use as `async with`."""
        return self.instance.client(user, transport=transport, **options)

    def agent(self, user: str, *, port: int = 0, host: str = "") -> Agent:
        """A scripted agent outside of both homes, at the first gateway's address; `host`: its domain, if not this one."""
        agent = Agent(0, user, address=GATEWAYS[0], port=port, host=host or self.domain)
        agent.target = self.address, self.instance.sip_port
        return agent


@dataclass(frozen=True, slots=True)
class Networks:
    """Both homes. Either may be the one that a message starts from."""

    one: Home
    two: Home


@contextmanager
def networks_with(
    directory: Path, settings: Mapping[str, str] | None = None, *, trusting: Sequence[bool] = (True, True)
) -> Iterator[Networks]:
    """Both networks, running, with `settings` (`IM_…`) on both sides and logs under `directory`.

    `trusting`: whether each believes the other.

    The calling thread is on the host of the clients meanwhile, and so are clients and sockets that it makes. Raises
    NamespaceError without the privilege.
    """
    with ExitStack() as stack:
        between = _host(stack, "clients")
        hosts = [_host(stack, domain.partition(".")[0]) for domain in DOMAINS]
        for host, server, gateway in zip(hosts, SERVERS, GATEWAYS, strict=True):
            cable(host, server, between, gateway)
            host.default_route(gateway)
            host.resolver(gateway)
        between.forward()
        records = {**dict(zip(DOMAINS, SERVERS, strict=True)), ELSEWHERE: GATEWAYS[0]}
        for gateway in GATEWAYS:
            names = between.run(partial(NameServer, gateway, records))
            stack.callback(names.close)
        stack.enter_context(between.entered())
        homes = []
        for number, host in enumerate(hosts):
            place = directory / DOMAINS[number]
            place.mkdir(parents=True)
            own = {"IM_DOMAIN": DOMAINS[number], "IM_LISTEN": SERVERS[number]}
            if trusting[number]:
                own["IM_TRUSTED_PEERS"] = SERVERS[1 - number]
            homes.append(Home(stack.enter_context(instance_with(place, {**own, **(settings or {})}, namespace=host))))
        yield Networks(*homes)


def _host(stack: ExitStack, role: str) -> Namespace:
    host = Namespace.create(role)
    stack.callback(host.close)
    return host
