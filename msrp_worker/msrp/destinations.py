"""Where a peer's path may make us connect to: it is the peer who writes it (SEC-05). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address


@dataclass(frozen=True, slots=True)
class Destinations:
    """What is kept from peers. The default keeps nothing."""

    loopback: bool = True
    """Whether loopback and link-local addresses may be connected to: where we listen there ourselves. Services that
    trust their own host listen there."""
    own_ports: frozenset[int] = frozenset()
    """Ports of this host that are no peers: our own SIP, control and HTTP."""

    def refusal(self, peer: tuple[str, int], own: str | None = None) -> str | None:
        """Why there may be no connection to this address and port; None where there may.

        `own` is our side of the connection: the same address at both ends is this host. Names cannot be judged before
        they were resolved: None.
        """
        address = _address(peer[0])
        if address is None:
            return None
        if address.is_unspecified or address.is_multicast:
            return f"{address} is no address of a peer"
        if not self.loopback and (address.is_loopback or address.is_link_local):
            return f"{address} is not reached from elsewhere"
        here = address.is_loopback or (own is not None and _address(own) == address)
        if here and peer[1] in self.own_ports:
            return f"{address} port {peer[1]} is a port of our own"
        return None


ANYWHERE = Destinations()


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
