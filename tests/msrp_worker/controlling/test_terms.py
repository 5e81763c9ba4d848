"""What the focus says in SDP, and what it reads out of others' (CNF-07, CNF-09, MED-12)."""

from __future__ import annotations

import pytest

from msrp_worker.controlling.terms import CHATROOM, MOST_CARRIED, RoomTerms, carried, read, taken_by, wrapped_of
from msrp_worker.offer_answer import Answer, answer, offer, offered_line
from msrp_worker.sdp import Origin, SdpError
from msrp_worker.sdp_msrp import parse
from tests.msrp_worker.controlling.focus_bench import sdp

ORIGIN = Origin("-", "1", 1, "192.0.2.1")


def terms(**options: object) -> RoomTerms:
    return RoomTerms(tcp_port=2855, tls_port=None, **options)  # type: ignore[arg-type]


def answered(offered: bytes, narrowed: tuple[str, ...] = (), **options: object) -> str:
    """Our answer as text."""
    found = answer(read(offered), terms(**options).policy("192.0.2.1", ORIGIN, ("id",), narrowed))
    assert isinstance(found, Answer)
    return found.description.build().decode()


@pytest.mark.requirement("CNF-09", "MED-07")
def test_offer() -> None:
    """message/cpim alone, what may be in it, what the room allows."""
    policy = terms(wrapped_types=("text/plain",), max_size=1000).policy("192.0.2.1", ORIGIN, ("id",))
    text = offer(ORIGIN, "192.0.2.1", [offered_line(policy, "id")]).build().decode()
    assert "a=accept-types:message/cpim\r\n" in text
    assert "a=accept-wrapped-types:text/plain application/im-iscomposing+xml message/imdn+xml\r\n" in text
    assert f"a=chatroom:{' '.join(CHATROOM)}\r\n" in text
    assert "a=max-size:1000\r\n" in text and "a=setup:actpass\r\n" in text
    assert "a=path:msrp://192.0.2.1:2855/id;tcp\r\n" in text


@pytest.mark.requirement("CNF-07")
@pytest.mark.parametrize(
    ("ours", "narrowed", "expected"),
    [
        (("*",), (), "*"),
        (("*",), ("*",), "*"),
        (("*",), ("text/plain", "image/png"), "text/plain image/png"),
        (("text/*",), ("text/plain", "image/png"), "text/plain"),
        (("text/plain",), ("*",), "text/plain application/im-iscomposing+xml message/imdn+xml"),
        (("text/plain",), ("image/png",), "text/plain application/im-iscomposing+xml message/imdn+xml"),
    ],
)
def test_answer_is_cut_down(ours: tuple[str, ...], narrowed: tuple[str, ...], expected: str) -> None:
    """What both take; where that is nothing, the room's own list."""
    text = answered(sdp(), narrowed, wrapped_types=ours)
    assert "a=accept-types:message/cpim\r\n" in text
    assert f"a=accept-wrapped-types:{expected}\r\n" in text


@pytest.mark.requirement("CNF-07")
def test_what_is_carried() -> None:
    """Attributes that are nobody's here, of the first MSRP line, and not without end."""
    foreign = "a=x-shade:blue\r\na=lang:fr\r\n"
    description = read(
        sdp(extra=f"{foreign}a=sendonly\r\na=max-size:5\r\na=chatroom\r\na=msrp-cema\r\na=File-Range:1-*\r\n")
    )
    assert [line.value for line in carried(description)] == ["x-shade:blue", "lang:fr"]
    many = read(sdp(extra="a=x-a\r\n" * 100))
    assert len(carried(many)) == MOST_CARRIED
    audio = read(b"v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\nm=audio 1 RTP/AVP 0\r\na=x-a\r\n")
    assert carried(audio) == ()


@pytest.mark.requirement("MED-12")
@pytest.mark.parametrize(
    ("types", "wrapped", "takes", "refuses"),
    [
        ("message/cpim", "", "image/png", ""),
        ("message/cpim", "text/plain", "text/plain", "image/png"),
        ("message/cpim text/plain", "", "text/plain", "image/png"),
        ("*", "", "image/png", ""),
    ],
)
def test_what_a_client_takes(types: str, wrapped: str, takes: str, refuses: str) -> None:
    text = sdp(types=types).replace(b"a=accept-wrapped-types:*\r\n", f"a=accept-wrapped-types:{wrapped}\r\n".encode())
    description = read(text if wrapped else text.replace(b"a=accept-wrapped-types:\r\n", b""))
    line = parse(description, description.media[0])
    assert taken_by(line).accepts_wrapped(takes)
    assert not refuses or not taken_by(line).accepts_wrapped(refuses)
    assert wrapped_of(line)


def test_no_description() -> None:
    with pytest.raises(SdpError) as caught:
        read(b" \r\n")
    assert caught.value.status == 488
