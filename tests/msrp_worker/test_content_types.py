"""accept-types: wildcards and intersection (RFC 4975 8.6)."""

import pytest

from msrp_worker.content_types import MAX_TYPES, accepts, essence, intersect, parse_list


@pytest.mark.requirement("MED-12")
@pytest.mark.parametrize(
    ("patterns", "content_type", "taken"),
    [
        (("*",), "image/png", True),
        (("text/*",), "Text/HTML; charset=utf-8", True),
        (("text/*",), "texture/html", False),
        (("text/plain;format=flowed",), "text/plain", True),
        (("text/plain",), "TEXT/PLAIN;charset=x", True),
        (("text/plain", "message/cpim"), "Message/CPIM", True),
        (("text/plain",), "text/*", False),
        ((), "text/plain", False),
    ],
)
def test_accepts(patterns: tuple[str, ...], content_type: str, taken: bool) -> None:
    assert accepts(patterns, content_type) is taken


@pytest.mark.requirement("CNF-07", "MED-12")
@pytest.mark.parametrize(
    ("offered", "ours", "both"),
    [
        ("text/plain text/html", "*", "text/plain text/html"),
        ("*", "text/plain text/html", "text/plain text/html"),
        ("*", "*", "*"),
        ("text/*", "*", "text/*"),
        ("text/*", "text/html image/png", "text/html"),
        ("text/plain image/png *", "image/*", "image/png image/*"),
        ("message/cpim text/plain", "text/plain", "text/plain"),
        ("Text/Plain;x=1 text/plain", "text/plain", "Text/Plain;x=1"),
        ("text/plain", "image/png", ""),
    ],
)
def test_intersection(offered: str, ours: str, both: str) -> None:
    assert intersect(offered.split(), ours.split()) == tuple(both.split())


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        ("text/plain *", ("text/plain", "*")),
        ('a/b;c="d e" x/*', ('a/b;c="d e"', "x/*")),
        ("  a/b  ", ("a/b",)),
        ("", ()),
        ("text", None),
        ("text/", None),
        ("a/b, c/d", None),
        ("a/b " * (MAX_TYPES + 1), None),
    ],
)
def test_lists(value: str, entries: tuple[str, ...] | None) -> None:
    assert parse_list(value) == entries


def test_essence() -> None:
    assert essence(' Text/Plain ; charset="a;b"') == "text/plain"
