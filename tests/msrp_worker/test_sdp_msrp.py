"""MSRP media sections: every attribute, both levels, and what is malformed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker import sdp
from msrp_worker.file_transfer import FileDescription, FileSelector
from msrp_worker.sdp import SdpError, describe
from msrp_worker.sdp_msrp import Direction, MsrpMedia, Purpose, Setup, is_msrp, parse, path_uri

ORIGIN = sdp.Origin("-", "1", 1, "192.0.2.1")
FULL = MsrpMedia(
    path=("msrps://relay.example.org:2855/r1;tcp", "msrps://192.0.2.1:2856/s1;tcp"),
    port=2856,
    address="192.0.2.1",
    secure=True,
    direction=Direction.SENDONLY,
    setup=Setup.ACTPASS,
    accept_types=("message/cpim", 'text/plain;x="a b"'),
    accept_wrapped_types=("text/*", "*"),
    max_size=2**40,
    chatroom=("nickname", "private-messages"),
    cema=True,
    fingerprints=("sha-256 " + bytes(range(32)).hex(":").upper(),),
    file=FileDescription(FileSelector("a b.jpg", "image/jpeg", 5), transfer_id="q1"),
    title="holiday",
)


def section(*lines: str, session: str = "", protocol: str = "TCP/MSRP") -> MsrpMedia:
    text = f"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n{session}m=message 7394 {protocol} *\r\n" + "".join(
        line + "\r\n" for line in lines
    )
    description = sdp.parse(text.encode())
    return parse(description, description.media[0])


MINIMAL = ("a=accept-types:*", "a=path:msrp://192.0.2.1:7394/s1;tcp")


def test_full_section_round_trips() -> None:
    description = sdp.parse(describe(ORIGIN, "198.51.100.9", [FULL.build()]).build())
    assert parse(description, description.media[0]) == FULL
    assert FULL.uses_relay
    assert FULL.takes_private_messages


def test_golden_lines() -> None:
    lines = [f"{line.letter}={line.value}" for line in FULL.build().lines]
    assert lines == [
        "i=holiday",
        "c=IN IP4 192.0.2.1",
        "a=sendonly",
        'a=accept-types:message/cpim text/plain;x="a b"',
        "a=accept-wrapped-types:text/* *",
        f"a=max-size:{2**40}",
        "a=setup:actpass",
        "a=msrp-cema",
        "a=path:msrps://relay.example.org:2855/r1;tcp msrps://192.0.2.1:2856/s1;tcp",
        "a=fingerprint:sha-256 " + ":".join(f"{n:02X}" for n in range(32)),
        "a=chatroom:nickname private-messages",
        'a=file-selector:name:"a b.jpg" type:image/jpeg size:5',
        "a=file-transfer-id:q1",
    ]


@pytest.mark.requirement("PFS-01")
@pytest.mark.parametrize(
    ("session_level", "media_level", "purpose"),
    [
        ("", (), Purpose.SESSION),
        ("", ("a=sendrecv",), Purpose.SESSION),
        ("", ("a=sendonly",), Purpose.LARGE_MESSAGE),
        ("", ("a=SendOnly",), Purpose.LARGE_MESSAGE),
        ("", ("a=recvonly",), Purpose.RETRIEVAL),
        ("", ("a=inactive",), Purpose.SESSION),
        ("a=sendonly\r\n", (), Purpose.LARGE_MESSAGE),
        ("a=sendonly\r\n", ("a=recvonly",), Purpose.RETRIEVAL),
    ],
)
def test_direction_decides(session_level: str, media_level: tuple[str, ...], purpose: Purpose) -> None:
    assert section(*MINIMAL, *media_level, session=session_level).purpose is purpose


@pytest.mark.requirement("MED-05")
@pytest.mark.parametrize(
    ("lines", "setup"),
    [
        ((), None),
        (("a=setup:active",), Setup.ACTIVE),
        (("a=setup:ACTPASS",), Setup.ACTPASS),
        (("a=setup:passive",), Setup.PASSIVE),
        (("a=setup:holdconn",), None),
        (("a=setup:whatever",), None),
    ],
)
def test_setup(lines: tuple[str, ...], setup: Setup | None) -> None:
    assert section(*MINIMAL, *lines).setup is setup


def test_session_level_values_apply_where_the_media_has_none() -> None:
    session = "c=IN IP4 192.0.2.3\r\na=setup:active\r\na=fingerprint:SHA-1 01:ab\r\n"
    media = section(*MINIMAL, session=session)
    assert (media.address, media.setup) == ("192.0.2.3", Setup.ACTIVE)
    assert media.fingerprints == ("sha-1 01:AB",)
    own = section(*MINIMAL, "c=IN IP4 192.0.2.4", "a=fingerprint:sha-256 02", session=session)
    assert (own.address, own.fingerprints) == ("192.0.2.4", ("sha-256 02",))


@pytest.mark.requirement("MED-07")
@pytest.mark.parametrize(
    ("lines", "tokens", "private"),
    [
        ((), None, False),
        (("a=chatroom",), (), False),
        (("a=chatroom:nickname",), ("nickname",), False),
        (("a=chatroom:Private-Messages com.example.x",), ("private-messages", "com.example.x"), True),
    ],
)
def test_chatroom(lines: tuple[str, ...], tokens: tuple[str, ...] | None, private: bool) -> None:
    media = section(*MINIMAL, *lines)
    assert media.chatroom == tokens
    assert media.takes_private_messages is private
    assert parse_back(media).chatroom == tokens


def parse_back(media: MsrpMedia) -> MsrpMedia:
    description = sdp.parse(describe(ORIGIN, "192.0.2.1", [media.build()]).build())
    return parse(description, description.media[0])


@pytest.mark.requirement("MED-11")
def test_websocket_client() -> None:
    path = "a=path:msrps://df7jal23ls0d.invalid:2855/98cjs;ws"
    media = section("a=accept-types:text/plain", path, protocol="TCP/TLS/MSRP")
    assert media.websocket
    assert media.secure


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (MINIMAL[:1], "a=path"),
        (MINIMAL[1:], "accept-types"),
        (("a=accept-types:", MINIMAL[1]), "accept-types"),
        (("a=accept-types:text", MINIMAL[1]), "accept-types"),
        ((*MINIMAL, "a=accept-wrapped-types:/"), "accept-wrapped-types"),
        ((*MINIMAL, "a=max-size:many"), "max-size"),
        ((*MINIMAL, "a=max-size:-1"), "max-size"),
        ((*MINIMAL, "a=fingerprint:sha-1"), "fingerprint"),
        ((*MINIMAL, "a=fingerprint:sha-1 0"), "fingerprint"),
        ((MINIMAL[0], "a=path:http://192.0.2.1/"), "path"),
        ((MINIMAL[0], "a=path:msrp://192.0.2.1:99999/s;tcp"), "path"),
        ((MINIMAL[0], "a=path:msrp://192.0.2.1:1/s"), "path"),
        ((MINIMAL[0], "a=path:" + "msrp://192.0.2.1:1/s;tcp " * 17), "hops"),
    ],
)
def test_malformed(lines: tuple[str, ...], reason: str) -> None:
    with pytest.raises(SdpError, match=reason):
        section(*lines)


def test_path_uri_takes_ipv6_and_missing_ports() -> None:
    uri = path_uri("MSRPS://[2001:DB8::1]:12/a/b=+c;TCP;x=1")
    assert (uri.host, uri.port, uri.secure, uri.transport) == ("2001:DB8::1", 12, True, "tcp")
    assert path_uri("msrp://relay.example.org;tcp").port is None


@pytest.mark.parametrize(
    ("line", "msrp"),
    [
        ("message 1 TCP/MSRP *", True),
        ("message 0 tcp/tls/msrp *", True),
        ("audio 1 TCP/MSRP *", False),
        ("message 1 SIP/sub *", False),
    ],
)
def test_which_sections_are_msrp(line: str, msrp: bool) -> None:
    description = sdp.parse(f"v=0\r\no=- 1 1 IN IP4 a\r\nm={line}\r\n".encode())
    assert is_msrp(description.media[0]) is msrp


@given(
    st.builds(
        MsrpMedia,
        path=st.just(("msrp://a.example:1/s;tcp",)),
        port=st.integers(1, 65535),
        address=st.just("192.0.2.9"),
        secure=st.booleans(),
        direction=st.sampled_from(Direction),
        setup=st.none() | st.sampled_from(Setup),
        accept_types=st.lists(st.sampled_from(["*", "a/b", "c/*"]), min_size=1, unique=True).map(tuple),
        accept_wrapped_types=st.lists(st.sampled_from(["*", "a/b"]), unique=True).map(tuple),
        max_size=st.none() | st.integers(0, 10**19),
        chatroom=st.none() | st.lists(st.sampled_from(["nickname", "x.y"]), unique=True).map(tuple),
        cema=st.booleans(),
    )
)
def test_round_trip(media: MsrpMedia) -> None:
    assert parse_back(media) == media
