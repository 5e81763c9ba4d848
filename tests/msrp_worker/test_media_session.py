"""Where a request came from, as Kamailio says it."""

from __future__ import annotations

import pytest

from msrp_worker.media_session import source_host


@pytest.mark.requirement("PFS-02", "DEF-07", "LRG-04")
@pytest.mark.parametrize(
    ("source", "host"),
    [
        ("192.0.2.1:5060;udp", "192.0.2.1"),
        ("[2001:db8::1]:5060;tcp", "2001:db8::1"),
        ("2001:db8::1:5060;tls", "2001:db8::1"),
        ("", None),
    ],
)
def test_the_host_of_a_source(source: str, host: str | None) -> None:
    """Our address in the answer is the one that is used towards it, for IPv6 as well."""
    assert source_host(source) == host
