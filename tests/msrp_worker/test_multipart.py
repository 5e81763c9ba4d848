"""Bodies with parts, cut and put together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.multipart import DEEPEST, MOST_PARTS, MultipartError, Part, build, direct_parts, read_parts

TYPE = 'multipart/mixed; boundary="b1"'


@pytest.mark.parametrize(
    ("content_type", "body", "parts"),
    [
        ("text/plain", b"", []),
        ("Text/Plain; charset=x", b"hello", [Part("Text/Plain; charset=x", b"hello")]),
        (TYPE, b"--b1\r\nContent-Type: a/b\r\n\r\nx\r\n--b1--", [Part("a/b", b"x")]),
        (TYPE, b"\r\n--b1\r\n\r\nx\r\n--b1--\r\n", [Part("text/plain", b"x")]),
        (TYPE, b"preamble\r\n--b1 \t\r\n\r\n\r\nx\r\n\r\n--b1--\r\nepilogue --b1", [Part("text/plain", b"\r\nx\r\n")]),
        (TYPE, b"--b1\r\n\r\n\r\n--b1\r\nContent-Type: a/b\r\n\r\n--b1--", [Part("text/plain", b""), Part("a/b", b"")]),
        (TYPE, b"--b1\r\nContent-Type: a/b\r\n --b1x\r\n\r\n--b1x\r\n--b1--", [Part("a/b --b1x", b"--b1x")]),
        (TYPE, b"--b1\nContent-Type: a/b\n\nx\n--b1--\n", [Part("a/b", b"x")]),
        ("multipart/mixed;x=y;BOUNDARY=b1", b"--b1\r\n\r\nx\r\n--b1--", [Part("text/plain", b"x")]),
        ('multipart/mixed;boundary="b\\1"', b"--b1\r\n\r\nx\r\n--b1--", [Part("text/plain", b"x")]),
        (TYPE, b"--b1\r\nContent-Transfer-Encoding: Base64\r\n\r\neA=\r\n=\r\n--b1--", [Part("text/plain", b"x")]),
        (
            TYPE,
            b"--b1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=3D\r\n--b1--",
            [Part("text/plain", b"=")],
        ),
        (
            TYPE,
            b"--b1\r\nContent-Type: multipart/alternative;boundary=b2\r\n\r\n--b2\r\n\r\nx\r\n--b2\r\n\r\ny\r\n--b2--\r\n"
            b"--b1\r\n\r\nz\r\n--b1--",
            [Part("text/plain", b"x"), Part("text/plain", b"y"), Part("text/plain", b"z")],
        ),
    ],
)
def test_what_is_read(content_type: str, body: bytes, parts: list[Part]) -> None:
    assert list(read_parts(content_type, body)) == parts


def test_fields_of_a_part() -> None:
    (part,) = read_parts(
        TYPE,
        b"--b1\r\ncontent-disposition: Recipient-List;handling=x\r\nContent-ID: <a@b>\r\nContent-Type: A/B\r\n\r\n--b1--",
    )
    assert (part.media_type, part.disposition, part.content_id) == ("a/b", "recipient-list", "a@b")
    assert read_parts("a/b", b"x", "recipient-list")[0].disposition == "recipient-list"


def test_parts_that_are_passed_on_keep_their_bytes() -> None:
    inner = Part(*build([Part("text/plain", b"a"), Part("text/html", b"b")], "inner"))
    encoded = Part("text/plain", b"eA==", (("Content-Transfer-Encoding", "base64"),))
    content_type, body = build([inner, encoded], "outer")
    assert direct_parts(content_type, body) == (inner, encoded)
    assert direct_parts("text/plain", b"x", "render") == (Part("text/plain", b"x", (("Content-Disposition", "render"),)),)
    assert direct_parts(TYPE, b"") == ()
    with pytest.raises(MultipartError):
        direct_parts(TYPE, b"--b1\r\n\r\nx\r\n" * (MOST_PARTS + 1) + b"--b1--")


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/mixed", b"--b1--"),
        ("multipart/mixed;boundary=", b"--b1--"),
        ('multipart/mixed;boundary="ends with space "', b"x"),
        (f"multipart/mixed;boundary={'b' * 71}", b"x"),
        (TYPE, b"no part"),
        (TYPE, b"--b1--"),
        (TYPE, b"--b1\r\n\r\nno end"),
        (TYPE, b"--b1\r\nnot a field\r\n\r\nx\r\n--b1--"),
        (TYPE, b"--b1\r\nX: " + b"y" * 9000 + b"\r\n\r\nx\r\n--b1--"),
        (TYPE, b"--b1\r\nContent-Transfer-Encoding: base64\r\n\r\n!\r\n--b1--"),
        (TYPE, b"--b1\r\n\r\nx\r\n" * (MOST_PARTS + 1) + b"--b1--"),
        (TYPE, (b"--b1\r\nContent-Type: " + TYPE.encode() + b"\r\n\r\n") * 9 + b"x\r\n--b1--"),
    ],
)
def test_what_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(MultipartError):
        read_parts(content_type, body)


@pytest.mark.requirement("SEC-05")
def test_parts_within_parts_end_somewhere() -> None:
    content_type, body = "text/plain", b"x"
    for level in range(DEEPEST):
        content_type, body = build([Part(content_type, body)], f"level{level}")
    assert read_parts(content_type, body) == (Part("text/plain", b"x"),)
    with pytest.raises(MultipartError, match="nested"):
        read_parts(*build([Part(content_type, body)], "one-more"))


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_what_is_built_is_read_back(bodies: list[bytes]) -> None:
    parts = [Part("a/b", body, (("Content-Disposition", "x"),)) for body in bodies]
    content_type, whole = build(parts, "not-in-any-body")
    assert list(read_parts(content_type, whole)) == parts


def test_a_boundary_in_a_body_and_a_line_break_in_a_field_are_not_built() -> None:
    with pytest.raises(ValueError, match="boundary"):
        build([Part("a/b", b"--b1")], "b1")
    with pytest.raises(ValueError, match="line break"):
        build([Part("a/b\r\nX: y", b"")], "b1")
