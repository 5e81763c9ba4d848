"""Group advertisements against the schema of E.1.8."""

from __future__ import annotations

import pytest

from msrp_worker.group_advertisement import AdvertisedGroup, Advertisement, AdvertisementError, build, parse

SPACE = "urn:oma:params:xml:ns:IM:group-advertisement"
GROUP = '<group type="dialed-in"><display-name>Teleworkers</display-name><uri>sip:group1@example.com</uri></group>'


def document(inside: str, space: str = SPACE, root: str = "group-advertisement") -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><{root} xmlns="{space}">{inside}</{root}>'.encode()


WORKERS = AdvertisedGroup(("sip:group1@example.com",), "Teleworkers", "dialed-in")


@pytest.mark.requirement("ADV-02")
@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (
            "<note>This group will meet next week</note>" + GROUP,
            Advertisement((WORKERS,), "This group will meet next week"),
        ),
        (GROUP + GROUP, Advertisement((WORKERS, WORKERS))),
        (
            "<group><uri>sip:a@b.example</uri><uri> sip:c@b.example\n</uri></group>",
            Advertisement((AdvertisedGroup(("sip:a@b.example", "sip:c@b.example")),)),
        ),
        (
            '<group type="other"><uri>sip:a@b.example</uri><more xmlns="urn:x"/></group>',
            Advertisement((AdvertisedGroup(("sip:a@b.example",), kind="other"),)),
        ),
        ("<!-- said before --><note/>" + GROUP, Advertisement((WORKERS,))),
    ],
)
def test_a_document_of_the_schema(inside: str, expected: Advertisement) -> None:
    assert parse(document(inside)) == expected


@pytest.mark.requirement("ADV-02")
@pytest.mark.parametrize(
    "advertisement",
    [
        Advertisement((WORKERS,)),
        Advertisement((WORKERS, AdvertisedGroup(("sip:a@b.example", "sip:c@b.example"))), "5 < 6 & 7 \u00fc"),
        Advertisement((AdvertisedGroup(("sip:a@b.example",), '"<&>"', "dialed-out"),)),
    ],
)
def test_what_is_built_is_read_back(advertisement: Advertisement) -> None:
    assert parse(build(advertisement)) == advertisement


@pytest.mark.requirement("ADV-02")
@pytest.mark.parametrize(
    "advertisement",
    [
        Advertisement(()),
        Advertisement((AdvertisedGroup(()),)),
        Advertisement((AdvertisedGroup(("",)),)),
        Advertisement((AdvertisedGroup(("sip:a@b",), kind="dialled"),)),
    ],
)
def test_nothing_is_built_that_the_schema_refuses(advertisement: Advertisement) -> None:
    with pytest.raises(AdvertisementError):
        build(advertisement)


@pytest.mark.requirement("ADV-02")
@pytest.mark.parametrize("space", [SPACE.replace(":IM:", ":im:"), SPACE.replace("group-", "group")])
def test_the_other_spellings_of_the_namespace(space: str) -> None:
    assert parse(document(GROUP, space)) == Advertisement((WORKERS,))


@pytest.mark.requirement("ADV-02", "SEC-05")
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "."),
        (document(GROUP)[:-5], "."),
        (document(GROUP, root="advertisement"), "no group-advertisement"),
        (document(GROUP, space="urn:x"), "no group-advertisement"),
        (document(""), "names no group"),
        (document("<note>nothing</note>"), "names no group"),
        (document(GROUP + "<note>late</note>"), "note has no place"),
        (document("<group/>"), "has no uri"),
        (document("<group><uri> </uri></group>"), "empty uri"),
        (document('<group type="dialled"><uri>sip:a@b</uri></group>'), "type is 'dialled'"),
        (document("<group><uri>sip:a@b</uri><display-name>late</display-name></group>"), "display-name has no place"),
        (document("<group><uri><x/>sip:a@b</uri></group>"), "has elements inside"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + document(GROUP).partition(b"?>")[2], "."),
    ],
)
def test_what_is_none(data: bytes, reason: str) -> None:
    with pytest.raises(AdvertisementError, match=reason):
        parse(data)


@pytest.mark.requirement("ADV-02", "SEC-05")
def test_a_document_cut_anywhere_is_refused() -> None:
    whole = document("<note>x</note>" + GROUP)
    for end in range(len(whole) - 1):
        with pytest.raises(AdvertisementError):
            parse(whole[:end])
