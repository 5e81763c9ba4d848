"""RFC 4566/8866: reading, writing, limits, and what must not be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker import sdp
from msrp_worker.sdp import Line, Media, Origin, SdpError, attribute, describe, parse

OFFER = (
    b"v=0\r\n"
    b"o=anna 4711 4712 IN IP4 desk.example.org\r\n"
    b"s= \r\n"
    b"i=caf\xe9\r\n"
    b"c=IN IP4 192.0.2.7\r\n"
    b"b=AS:64\r\n"
    b"t=0 0\r\n"
    b"y=unheard of\r\n"
    b"a=recvonly\r\n"
    b"m=audio 49170/2 RTP/AVP 0 8\r\n"
    b"a=rtpmap:0 PCMU/8000\r\n"
    b"m=message 7394 TCP/MSRP *\r\n"
    b"c=IN IP6 2001:db8::1\r\n"
    b"a=accept-types:text/plain\r\n"
    b"a=X-Vendor : odd \r\n"
    b"a=path:msrp://[2001:db8::1]:7394/q2;tcp\r\n"
)


def test_parses_sections_and_keeps_every_line() -> None:
    description = parse(OFFER)
    assert description.origin == Origin("anna", "4711", 4712, "desk.example.org")
    assert [media.kind for media in description.media] == ["audio", "message"]
    audio, message = description.media
    assert (audio.port, audio.ports, audio.formats) == (49170, 2, ("0", "8"))
    assert description.connection(audio) == "192.0.2.7"
    assert description.connection(message) == "2001:db8::1"
    assert message.attribute("X-VENDOR") == "odd"
    assert message.attribute("absent") is None
    assert description.attribute("recvonly") == ""
    assert description.build() == OFFER


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_any_line_end(end: bytes) -> None:
    assert parse(OFFER.replace(b"\r\n", end) + end + end) == parse(OFFER)


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "v=0"),
        (b"\r\n\r\n", "v=0"),
        (b"v=1\r\no=- 1 1 IN IP4 a\r\n", "v=0"),
        (b"o=- 1 1 IN IP4 a\r\nv=0\r\n", "v=0"),
        (b"v=0\r\n", "no o="),
        (b"v=0\r\no=- 1 1 IN IP4\r\n", "malformed o="),
        (b"v=0\r\no=- 1 x IN IP4 a\r\n", "number"),
        (b"v=0\r\no=- 1 " + b"9" * 5000 + b" IN IP4 a\r\n", "number"),
        (OFFER.replace(b"7394 TCP", b"65536 TCP"), "port"),
        (OFFER.replace(b"7394 TCP", b"-1 TCP"), "m="),
        (OFFER.replace(b"TCP/MSRP *", b"TCP/MSRP"), "m="),
        (OFFER + b"hello\r\n", "letter"),
        (OFFER + b"==\r\n", "letter"),
        (OFFER + b"a=x\0\r\n", "NUL"),
        (OFFER + b"a=x\r\n" * sdp.MAX_LINES, "lines"),
        (OFFER + b"m=message 1 TCP/MSRP *\r\n" * sdp.MAX_MEDIA, "media sections"),
        (OFFER + b"a=" + b"x" * sdp.MAX_BYTES, "bytes"),
    ],
)
def test_refuses_what_is_not_sdp(data: bytes, reason: str) -> None:
    with pytest.raises(SdpError, match=reason) as caught:
        parse(data)
    assert caught.value.status in (400, 413)


def test_connection_needs_three_fields_and_drops_the_ttl() -> None:
    section = Media("message", 1, "TCP/MSRP", ("*",), (Line("c", "IN IP4 233.252.0.1/127"),))
    description = describe(Origin("-", "1", 1, "a"), "192.0.2.1", [section])
    assert description.connection(section) == "233.252.0.1"
    broken = Media("message", 1, "TCP/MSRP", ("*",), (Line("c", "IN IP4"),))
    assert description.connection(broken) is None


@pytest.mark.requirement("CNF-04")
def test_refused_section_keeps_media_protocol_and_formats() -> None:
    audio = parse(OFFER).media[0].refuse()
    assert audio.media_line() == "audio 0 RTP/AVP 0 8"
    assert audio.lines == ()
    assert audio.refused


def test_own_description_is_golden() -> None:
    section = Media("message", 2855, "TCP/MSRP", ("*",), (attribute("sendonly"), attribute("max-size", "9")))
    assert describe(Origin("-", "5", 6, "2001:db8::2", "IP6"), "2001:db8::2", [section]).build() == (
        b"v=0\r\no=- 5 6 IN IP6 2001:db8::2\r\ns=-\r\nc=IN IP6 2001:db8::2\r\nt=0 0\r\n"
        b"m=message 2855 TCP/MSRP *\r\na=sendonly\r\na=max-size:9\r\n"
    )


_TOKEN = st.text("abcXYZ019-./", min_size=1, max_size=12)
_VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=30)
_LINES = st.lists(st.builds(Line, st.sampled_from("aibky"), _VALUE), max_size=6)
_MEDIA = st.builds(
    Media,
    _TOKEN,
    st.integers(0, 65535),
    _TOKEN,
    st.lists(_TOKEN, min_size=1, max_size=3).map(tuple),
    _LINES.map(tuple),
    st.none() | st.integers(1, 99),
)


@given(st.lists(_MEDIA, max_size=5), _LINES)
def test_round_trip(media: list[Media], extra: list[Line]) -> None:
    whole = describe(Origin("-", "1", 1, "192.0.2.1"), "192.0.2.1", media)
    whole = sdp.SessionDescription((*whole.lines, *extra), whole.media, origin=whole.origin)
    assert parse(whole.build()) == whole


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    for data in (noise, OFFER + noise, OFFER.replace(b"text/plain", noise)):
        try:
            description = parse(data)
        except SdpError:
            continue
        assert parse(description.build()).build() == description.build()
