"""Multipart bodies."""

from __future__ import annotations

import pytest

from im_client.errors import MalformedMessageError
from im_client.multipart import MAX_PARTS, Part, build, split

PARTS = [
    Part("application/octet-stream", bytes(range(256)) + b"\r\n--other\r\n"),
    Part("text/plain;charset=UTF-8", b"", (("Content-Disposition", "Recipient-List;handling=optional"),)),
    Part("message/cpim", b"\r\n\r\n--\r\n"),
]


def test_parts_survive_as_they_are() -> None:
    kind, body = build(PARTS, "b1")
    assert kind == 'multipart/mixed;boundary="b1"'
    assert split(kind, body) == PARTS
    assert split(kind, b"preamble\r\n" + body + b"epilogue\r\n--b1\r\n") == PARTS


def test_properties_of_a_part() -> None:
    assert PARTS[1].disposition == "recipient-list"
    assert PARTS[1].media_type == "text/plain"
    assert PARTS[0].disposition == ""
    assert PARTS[1].header("content-disposition") == "Recipient-List;handling=optional"


def test_golden_bytes() -> None:
    _, body = build([Part("text/plain", b"hi", (("X", "y"),))], "b")
    assert body == b"--b\r\nContent-Type: text/plain\r\nX: y\r\n\r\nhi\r\n--b--\r\n"


def test_a_part_may_have_no_headers_folded_ones_or_no_body() -> None:
    body = b"--b \t\r\n\r\nplain\r\n--b\r\nContent-Type: a/b;\r\n c=d\r\n\r\n\r\n--b\r\nX: y\r\n--b--"
    assert split("multipart/mixed; boundary=b", body) == [
        Part("text/plain", b"plain"),
        Part("a/b; c=d", b""),
        Part("text/plain", b"", (("X", "y"),)),
    ]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/mixed", b"--b\r\n\r\nx\r\n--b--"),
        ('multipart/mixed;boundary=""', b"----"),
        ("multipart/mixed;boundary=" + "b" * 71, b""),
        ("multipart/mixed;boundary=b", b""),
        ("multipart/mixed;boundary=b", b"--b--"),
        ("multipart/mixed;boundary=b", b"--b\r\n\r\nx"),
        ("multipart/mixed;boundary=b", b"--b\r\nno header\r\n\r\nx\r\n--b--"),
        ("multipart/mixed;boundary=b", b"--b\r\n\r\n\r\n" * (MAX_PARTS + 1) + b"--b--"),
    ],
)
def test_malformed(kind: str, body: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        split(kind, body)


@pytest.mark.parametrize(
    "part", [Part("a/b", b"x--b1y"), Part("a/b\r\nX: y", b""), Part("a/b", b"", (("X", "y\nz"),))]
)
def test_what_would_break_the_framing_is_refused(part: Part) -> None:
    with pytest.raises(ValueError, match="boundary"):
        build([part], "b1")
