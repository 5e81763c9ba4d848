"""Cutting a stream into messages: whole, byte by byte, cut at each offset, with trailing bytes."""

from __future__ import annotations

import pytest

from im_client.errors import MalformedMessageError
from im_client.framing import Crlf, Framer

FIRST = b"MESSAGE sip:a@h SIP/2.0\r\nX: \xe9\r\nContent-Length: 7\r\n\r\n\r\n\r\n\x00\xff\n"
SECOND = b"SIP/2.0 200 OK\r\nl : 0\r\n\r\n"
THIRD = b"MESSAGE sip:a@h SIP/2.0\r\nContent-Length:\r\n 3\r\n\r\nabc"
STREAM = FIRST + b"\r\n" + SECOND + b"\r\n\r\n" + THIRD
ITEMS = [FIRST, Crlf(), SECOND, Crlf(), Crlf(), THIRD]


def test_whole() -> None:
    assert Framer().feed(STREAM) == ITEMS


def test_byte_by_byte() -> None:
    framer = Framer()
    assert [item for byte in STREAM for item in framer.feed(bytes([byte]))] == ITEMS


@pytest.mark.parametrize("offset", range(len(STREAM) + 1))
def test_cut_at_each_offset(offset: int) -> None:
    framer = Framer()
    assert framer.feed(STREAM[:offset]) + framer.feed(STREAM[offset:]) == ITEMS


def test_trailing_bytes_wait_for_the_rest() -> None:
    framer = Framer()
    assert framer.feed(SECOND + FIRST[:20]) == [SECOND]
    assert framer.feed(FIRST[20:]) == [FIRST]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"MESSAGE sip:a@h SIP/2.0\r\nX: y\r\n\r\n", 400),
        (b"MESSAGE sip:a@h SIP/2.0\r\nContent-Length: x\r\n\r\n", 400),
        (b"MESSAGE sip:a@h SIP/2.0\r\nContent-Length: -1\r\n\r\n", 400),
        (b"MESSAGE sip:a@h SIP/2.0\r\nContent-Length: 1\r\nl: 2\r\n\r\n", 400),
        (b"MESSAGE sip:a@h SIP/2.0\r\nContent-Length: 101\r\n\r\n", 513),
        (b"x" * 301, 513),
    ],
)
def test_what_cannot_be_framed(data: bytes, status: int) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        Framer(max_header=300, max_body=100).feed(data)
    assert caught.value.status == status


def test_a_long_header_arriving_in_small_pieces_is_searched_once() -> None:
    framer = Framer()
    data = b"MESSAGE sip:a@h SIP/2.0\r\nX: " + b"y" * 60_000 + b"\r\nContent-Length: 0\r\n\r\n"
    items = [item for start in range(0, len(data), 7) for item in framer.feed(data[start : start + 7])]
    assert items == [data]
