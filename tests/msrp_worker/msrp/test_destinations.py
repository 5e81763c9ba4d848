"""Where a peer may make us connect to."""

from __future__ import annotations

import pytest

from msrp_worker.msrp import Destinations

GUARDED = Destinations(loopback=False, own_ports=frozenset({5060, 5090}))
AT_HOME = Destinations(loopback=True, own_ports=frozenset({5060, 5090}))


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    ("rules", "peer", "own", "allowed"),
    [
        (GUARDED, ("192.0.2.1", 2855), None, True),
        (GUARDED, ("192.0.2.1", 5060), None, True),
        (GUARDED, ("192.0.2.1", 5060), "192.0.2.2", True),
        (GUARDED, ("192.0.2.1", 5060), "192.0.2.1", False),
        (GUARDED, ("192.0.2.1", 2855), "192.0.2.1", True),
        (GUARDED, ("127.0.0.1", 5432), None, False),
        (GUARDED, ("127.9.9.9", 2855), None, False),
        (GUARDED, ("::1", 2855), None, False),
        (GUARDED, ("::ffff:127.0.0.1", 2855), None, False),
        (GUARDED, ("169.254.169.254", 80), None, False),
        (GUARDED, ("fe80::1%eth0", 80), None, False),
        (GUARDED, ("0.0.0.0", 2855), None, False),
        (GUARDED, ("::", 2855), None, False),
        (GUARDED, ("224.0.0.1", 2855), None, False),
        (GUARDED, ("relay.example.com", 5060), None, True),  # judged again once it is resolved
        (AT_HOME, ("127.0.0.1", 2855), None, True),
        (AT_HOME, ("127.0.0.1", 5090), None, False),
        (AT_HOME, ("127.0.0.2", 5060), None, False),
        (AT_HOME, ("2001:db8::1", 5090), "2001:db8:0::1", False),
        (Destinations(), ("127.0.0.1", 5090), None, True),
    ],
)
def test_rules(rules: Destinations, peer: tuple[str, int], own: str | None, allowed: bool) -> None:
    assert (rules.refusal(peer, own) is None) is allowed
