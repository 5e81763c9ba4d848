"""Equal addresses have one spelling (RFC 3261 section 19.1.4, RFC 3966 section 4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.address import canonical, domain_of, of_record, user_address

EQUAL = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("SIP:alice@example.com", "sip:alice@EXAMPLE.com"),
    ("sip:alice@example.com:05060", "sip:alice@example.com:5060"),
    ("sip:a%3bb@example.com", "sip:a%3Bb@example.com"),
    ("sip:bob@[2001:DB8:0::1]", "sip:bob@[2001:db8::1]"),
    ("tel:+1-212-555-1234", "TEL:+1(212)555.1234"),
    ("tel:7042;phone-context=Example.COM", "tel:70-42;phone-context=example.com"),
    ("tel:7042;phone-context=+1-212", "tel:7042;phone-context=+1212"),
    ("tel:+1;ext=1-2;a=B", "tel:+1;A=b;ext=12"),
]
DIFFERENT = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:alice@example.com", "sips:alice@example.com"),
    ("sip:alice@example.com", "sip:example.com"),
    ("sip:alice@example.com", "sip:alice:secret@example.com"),
    ("sip:a%3bb@example.com", "sip:a;b@example.com"),
    ("sip:+1212@example.com", "sip:+1212@example.com;user=phone"),
    ("tel:+1212", "tel:1212;phone-context=+1"),
    ("tel:+1212", "tel:+1212;ext=1"),
]
GARBAGE = [
    "",
    "alice",
    "alice@example.com",
    "mailto:alice@example.com",
    "sip:",
    "sip:@example.com",
    "sip:a b@example.com",
    "sip:a@b@c",
    "sip:a@ex_ample.com",
    "sip:a@example.com:",
    "sip:a@example.com:0",
    "sip:a@example.com:65536",
    "sip:a@example.com:²",
    "sip:a@example.com;=x",
    "sip:a@example.com;;x",
    "sip:a@example.com?x",
    "sip:%zz@example.com",
    "sip:ü@example.com",
    "sip:a@[::1",
    "sip:a@[::1]x",
    "sip:a@[x]",
    "sip:" + "a" * 300 + "@example.com",
    "<sip:a@example.com>",
    "sip:a\0@example.com",
    "tel:",
    "tel:+",
    "tel:abc",
    "tel:12",
    "tel:+1;a=1;a=2",
    "tel:+1;phone context=x",
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_addresses(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_addresses(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        canonical(text)


@pytest.mark.parametrize("text", sorted({text for pair in EQUAL + DIFFERENT for text in pair}))
def test_the_canonical_spelling_stays(text: str) -> None:
    assert canonical(canonical(text)) == canonical(text)


@given(st.one_of(st.text(), st.from_regex(r"(sip|sips|tel):[ -~]{0,40}", fullmatch=True)))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = canonical(text)
    except ValueError:
        return
    assert canonical(address) == address
    assert address.isascii()


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("sip:alice@example.com", "example.com"),
        ("sip:example.com:5070;transport=tcp", "example.com"),
        ("sip:alice@[2001:db8::1]:5060", "[2001:db8::1]"),
        ("sips:a@example.com?to=x%40y", "example.com"),
        ("tel:+1212", None),
        ("mailto:a@example.com", None),
    ],
)
def test_domain(address: str, domain: str | None) -> None:
    assert domain_of(address) == domain


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("alice", "sip:alice@example.com"),
        ("alice@EXAMPLE.org", "sip:alice@example.org"),
        ("sip:alice@example.com", "sip:alice@example.com"),
        ("tel:+1-2", "tel:+12"),
    ],
)
def test_what_an_operator_types(name: str, address: str) -> None:
    assert user_address(name, "example.com") == address


@pytest.mark.parametrize("name", ["", "@", "a b", "a@", "x:y"])
def test_what_an_operator_mistypes(name: str) -> None:
    with pytest.raises(ValueError):
        user_address(name, "example.com")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("sip:a@example.com", "sip:a@example.com"),
        ("SIPS:%61:secret@EXAMPLE.com:5061;transport=tcp?x=y", "sip:a@example.com"),
        ("sip:a;b?c@example.com", "sip:a;b?c@example.com"),
        ("sip:a@[2001:DB8::0:1]:5060;maddr=192.0.2.1", "sip:a@[2001:db8::1]"),
        ("sip:example.com;lr", "sip:example.com"),
        ("tel:+1-201;ext=1", "tel:+1201;ext=1"),
    ],
)
def test_whom_a_uri_means(written: str, expected: str) -> None:
    """Without what tells only how to reach him."""
    assert of_record(written) == expected
