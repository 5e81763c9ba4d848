"""Which URIs name the same user."""

import pytest

from msrp_worker.msrp.address_key import address_key


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sip:alice@example.com", "SIP:alice@EXAMPLE.com;user=phone?x=y", True),
        ("sip:alice@example.com", "sips:alice@example.com:5061", True),
        ("sip:alice@example.com:5060", "sip:alice@example.com", True),
        ("sip:al%69ce@example.com", "sip:alice@example.com", True),
        ("sip:alice;x=1@example.com", "sip:alice@example.com", True),
        ("sip:alice@example.com", "sip:Alice@example.com", False),
        ("sip:alice@example.com", "sip:alice@example.com:5070", False),
        ("sip:alice@example.com", "im:alice@example.com", False),
        ("tel:+1-201-555-0123", "tel:+12015550123;phone-context=x", True),
        ("tel:+12015550123", "tel:+12015550124", False),
        ("sip:example.com", "sip:EXAMPLE.com", True),
        ("sip:a@b@example.com", "sip:a%40b@example.com", True),
    ],
)
def test_keys(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same
