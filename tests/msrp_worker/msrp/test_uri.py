"""MSRP URIs: grammar and comparison (RFC 4975 sections 6.1 and 9)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.msrp.uri import MAX_PATH_HOPS, MsrpUri, UriError, format_path, parse_path, parse_uri

GOOD = [
    ("msrp://host.example.com:8493/asfd34;tcp", ("msrp", "host.example.com", 8493, "asfd34", "tcp")),
    ("MSRPS://Host.example.com:8493/aS/f=d+34;TCP", ("msrps", "Host.example.com", 8493, "aS/f=d+34", "tcp")),
    ("msrp://[2001:db8::1]:2855/x;tcp", ("msrp", "2001:db8::1", 2855, "x", "tcp")),
    ("msrps://relay.example.org;tcp", ("msrps", "relay.example.org", None, None, "tcp")),
    ("msrps://df7jal23ls0d.invalid:2855/98cjs;ws", ("msrps", "df7jal23ls0d.invalid", 2855, "98cjs", "ws")),
]


@pytest.mark.requirement("MED-03")
@pytest.mark.parametrize(("text", "parts"), GOOD)
def test_parses(text: str, parts: tuple[object, ...]) -> None:
    uri = parse_uri(text)
    assert (uri.scheme, uri.host, uri.port, uri.session_id, uri.transport) == parts
    assert str(uri).lower() == text.lower()


def test_keeps_userinfo_and_parameters() -> None:
    text = "msrps://alice@intra.example.com:2855/jui787s2f;tcp;lr;x=y"
    uri = parse_uri(text)
    assert (uri.userinfo, uri.parameters, str(uri)) == ("alice", ("lr", "x=y"), text)


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:alice@example.com",
        "msrp://host:2855/abc",  # no transport
        "msrp://host:2855/;tcp",  # session-id is 1*
        "msrp://:2855/abc;tcp",
        "msrp://host:99999/abc;tcp",
        "msrp://host:/abc;tcp",
        "msrp://[::g]:1/abc;tcp",
        "msrp://[1.2.3.4]:1/abc;tcp",
        "msrp://host:1/a b;tcp",
        "msrp://host:1/a%20b;tcp",
        "msrp://host:1/abc;tcp;",
        "msrp://host:1/abc;tcp\r\nX: y",
        "msrp://hôst:1/abc;tcp",
        "msrp://host:1/" + "a" * 2000 + ";tcp",
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(UriError):
        parse_uri(text)


BASE = "msrp://atlanta.example.com:7654/jshA7we;tcp"


@pytest.mark.requirement("MED-03")
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (BASE, "MSRP://ATLANTA.example.com:7654/jshA7we;TCP", True),  # rules 1, 2, 5: without case
        (BASE, "msrps://atlanta.example.com:7654/jshA7we;tcp", False),  # 1
        (BASE, "msrp://bob@atlanta.example.com:7654/jshA7we;tcp", True),  # 2: userinfo is not considered
        (BASE, "msrp://%61tlanta.example.com:7654/jshA7we;tcp", True),  # 2: percent-encoding
        (BASE, "msrp://atlanta.example.com:7655/jshA7we;tcp", False),  # 3
        (BASE, "msrp://atlanta.example.com/jshA7we;tcp", False),  # 3: one without port
        (BASE, "msrp://atlanta.example.com:7654/JshA7we;tcp", False),  # 4: with case
        (BASE, "msrp://atlanta.example.com:7654;tcp", False),  # 4: one without session-id
        (BASE, "msrp://atlanta.example.com:7654/jshA7we;ws", False),  # 5
        (BASE, "msrp://atlanta.example.com:7654/jshA7we;tcp;x=y", True),
        ("msrp://[2001:DB8:0:0::1]:1/a;tcp", "msrp://[2001:db8::1]:1/a;tcp", True),  # 2: by address
        ("msrp://10.0.0.1:1/a;tcp", "msrp://10.0.0.10:1/a;tcp", False),
    ],
)
def test_compares_after_6_1(one: str, other: str, *, same: bool) -> None:
    assert parse_uri(one).matches(parse_uri(other)) is same
    assert parse_uri(other).matches(parse_uri(one)) is same


@pytest.mark.requirement("MED-06")
def test_path_of_several_hops() -> None:
    text = "msrps://b.example:1/x;tcp msrps://c.example:2/y;tcp msrp://d.example:3/z;tcp"
    path = parse_path(text)
    assert [uri.host for uri in path] == ["b.example", "c.example", "d.example"]
    assert format_path(path) == text


@pytest.mark.parametrize("text", [" ".join([BASE] * (MAX_PATH_HOPS + 1)), f"{BASE}  {BASE}", f"{BASE} ", ""])
def test_refuses_paths(text: str) -> None:
    with pytest.raises(UriError):
        parse_path(text)


@given(
    scheme=st.sampled_from(["msrp", "msrps"]),
    host=st.one_of(st.ip_addresses().map(str), st.from_regex(r"[a-z][a-z0-9.-]{0,20}[a-z]", fullmatch=True)),
    port=st.none() | st.integers(0, 65535),
    session_id=st.none() | st.from_regex(r"[A-Za-z0-9._~+=/-]{1,30}", fullmatch=True),
    userinfo=st.none() | st.from_regex(r"[a-z0-9:]{0,5}", fullmatch=True),
)
def test_round_trip(
    scheme: str, host: str, port: int | None, session_id: str | None, userinfo: str | None
) -> None:
    uri = MsrpUri(scheme, host, port, session_id, "tcp", userinfo)
    assert parse_uri(str(uri)) == uri
