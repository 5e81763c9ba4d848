"""Header values as the procedures read them; one row per spelling that is on the wire or could be put there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi.sip_values import (
    Mark,
    asks_for_advertisement_devices,
    asks_for_anonymity,
    canonical,
    carries_feature_tag,
    contact_capabilities,
    contacts_by_marks,
    content_type_allowed,
    expiry,
    feature_tags,
    host_of,
    media_type,
    route_from,
    without_session_parameter,
)
from msrp_worker import address
from tests.kemi.builders import DATE, NOW

MAX_DELTA = 2**32 - 1
OURS, BACK = "<sip:192.0.2.1:5070;lr>", "<sip:odi-7@192.0.2.10:5060;lr;orig-dialog-id=a%2Cb>"


@pytest.mark.requirement("PFS-03", "COR-05")
@pytest.mark.parametrize(
    ("route", "next_hop", "left"),
    [
        (f"{OURS},{BACK}", BACK[1:-1], BACK),
        (f"{OURS}, {BACK} , <sip:scscf2;lr>", BACK[1:-1], f"{BACK}, <sip:scscf2;lr>"),
        (f'{OURS}, "core, <b>" {BACK};x=1', BACK[1:-1], f'"core, <b>" {BACK};x=1'),
        (BACK, BACK[1:-1], BACK),
        (OURS, "", ""),
        ("", "", ""),
        ("", BACK[1:-1], ""),
        (OURS, BACK[1:-1], ""),
        ("<", BACK[1:-1], ""),
    ],
)
def test_the_route_back_to_a_core(route: str, next_hop: str, left: str) -> None:
    """Our own values are taken off, what the core marks the dialog by stays as it is."""
    assert route_from(route, next_hop) == left


@pytest.mark.requirement("PAG-01", "COR-01", "COR-03")
@pytest.mark.parametrize(
    ("value", "carried"),
    [
        ("*;+g.oma.sip-im;explicit", True),
        ("*;explicit;require;+g.oma.sip-im", True),
        ("*;+g.oma.sip-im", True),
        ("* ; +g.oma.sip-im ; explicit", True),
        ("*;+G.OMA.SIP-IM", True),
        ('*;+g.oma.sip-im="TRUE"', True),
        ('*;+g.oma.sip-im="a,b;c"', True),
        ('*;+g.poc.talkburst="x,y;z";+g.oma.sip-im', True),
        ('*;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.msg";+g.oma.sip-im', True),
        ("*;+g.poc.talkburst,*;+g.oma.sip-im;require", True),
        ("*;audio, *;+g.oma.sip-im", True),
        ("*;+g.oma.sip-im.large-message", True),
        ('*;text="a\\";b";+g.oma.sip-im', True),
        ("", False),
        ("*", False),
        ("*;explicit;require", False),
        ("+g.oma.sip-im", False),
        ("*;+g.oma.sip-imx", False),
        ("*;+g.oma.sip-im.other", False),
        ("*;g.oma.sip-im", False),
        ('*;text="+g.oma.sip-im"', False),
        ('*;text="a;+g.oma.sip-im;b"', False),
        ('*;text="a,*;+g.oma.sip-im"', False),
        ('*;text="\\";+g.oma.sip-im"', False),
        ('*;text="never closed;+g.oma.sip-im', False),
        ('*;+g.oma.sip-im="FALSE"', False),
        ('*;+g.oma.sip-im="!TRUE"', False),
        ("*;x=+g.oma.sip-im", False),
    ],
)
def test_the_feature_tag_counts_as_a_parameter_and_nowhere_else(value: str, carried: bool) -> None:
    assert carries_feature_tag(value) is carried


@given(st.permutations(["+g.oma.sip-im", "explicit", "require", 'audio="x;y,z"', 'methods="INVITE,MESSAGE"']))
def test_the_order_of_parameters_is_indifferent(parameters: list[str]) -> None:
    assert carries_feature_tag("*;" + ";".join(parameters))


@given(st.text(alphabet='+g.oma.sip-im;,"\\<>=* ', max_size=60))
def test_no_text_breaks_the_reading_of_tags(text: str) -> None:
    assert carries_feature_tag(text) is bool({"+g.oma.sip-im", "+g.oma.sip-im.large-message"} & feature_tags(text))
    contact_capabilities(text)


@pytest.mark.requirement("COR-07", "COR-10", "LRG-08")
@pytest.mark.parametrize(
    ("value", "contacts"),
    [
        ("<sip:a@10.0.0.1:5060>;+g.oma.sip-im", [("sip:a@10.0.0.1:5060", True, False)]),
        ("<sip:a@h>;expires=60;+g.oma.sip-im.large-message", [("sip:a@h", True, True)]),
        ("<sip:a@h>;+g.oma.sip-im;+g.oma.sip-im.large-message", [("sip:a@h", True, True)]),
        ("<sip:a@h>", [("sip:a@h", False, False)]),
        ("sip:a@h;+g.oma.sip-im", [("sip:a@h", True, False)]),
        ("<sip:a@h;+g.oma.sip-im>", [("sip:a@h;+g.oma.sip-im", False, False)]),
        ("<sip:a@h>,<sip:b@h>;+g.oma.sip-im", [("sip:a@h", False, False), ("sip:b@h", True, False)]),
        ('"A, B" <sip:a@h>;+g.oma.sip-im', [("sip:a@h", True, False)]),
        ('"a<b" <sip:a@h>;+g.oma.sip-im', [("sip:a@h", True, False)]),
        ('"<sip:x@y>" <sip:a@h>', [("sip:a@h", False, False)]),
        ('"+g.oma.sip-im;+g.oma.sip-im" <sip:a@h>', [("sip:a@h", False, False)]),
        ("<sip:a,b@h;x=y>;+g.oma.sip-im", [("sip:a,b@h;x=y", True, False)]),
        ('<sip:a@h>;+g.oma.sip-im="FALSE"', [("sip:a@h", False, False)]),
        ('<sip:a@h>;+sip.instance="<urn:uuid:1>";+g.oma.sip-im', [("sip:a@h", True, False)]),
        ("*", []),
        ("", []),
        ("<>;+g.oma.sip-im", []),
    ],
)
def test_each_contact_of_a_register_has_its_own_capabilities(value: str, contacts: list[tuple[str, bool, bool]]) -> None:
    assert contact_capabilities(value) == contacts


IM, LARGE, AD = "+g.oma.sip-im", "+g.oma.sip-im.large-message", "+g.poc.groupad"
CAPABLE_MARKS = frozenset({Mark.CAPABLE})
LARGE_MARKS = frozenset({Mark.CAPABLE, Mark.LARGE})
AD_MARKS = frozenset({Mark.CAPABLE, Mark.ADVERTISEMENT})
ALL_MARKS = frozenset(Mark)
NONE: frozenset[Mark] = frozenset()


@pytest.mark.requirement("COR-07", "COR-10", "LRG-08", "ADV-03")
@pytest.mark.parametrize(
    ("value", "groups"),
    [
        ("", []),
        ("*", [(NONE, "*")]),
        ("<sip:a@h>", [(NONE, "<sip:a@h>")]),
        (f"<sip:a@h>;{IM}", [(CAPABLE_MARKS, f"<sip:a@h>;{IM}")]),
        (f"<sip:a@h>;{LARGE}", [(LARGE_MARKS, f"<sip:a@h>;{LARGE}")]),
        (f"<sip:a@h>;{IM};{AD}", [(AD_MARKS, f"<sip:a@h>;{IM};{AD}")]),
        (f'<sip:a@h>;{AD.upper()}="TRUE";{IM}', [(AD_MARKS, f'<sip:a@h>;{AD.upper()}="TRUE";{IM}')]),
        (f'<sip:a@h>;{AD}="FALSE";{IM}', [(CAPABLE_MARKS, f'<sip:a@h>;{AD}="FALSE";{IM}')]),
        (f"<sip:a@h>;{AD}", [(NONE, f"<sip:a@h>;{AD}")]),  # no IM device
        (f"<sip:a@h;{AD}>;{IM}", [(CAPABLE_MARKS, f"<sip:a@h;{AD}>;{IM}")]),
        (f"<sip:a@h>;{IM};{LARGE};{AD}", [(ALL_MARKS, f"<sip:a@h>;{IM};{LARGE};{AD}")]),
        (
            f"<sip:a@h>;{IM},<sip:b@h>, <sip:c@h>;{AD};{IM} ,<sip:d@h>;q=0.1;{IM},<sip:e@h>;{AD},<sip:f@h>;{LARGE}",
            [
                (CAPABLE_MARKS, f"<sip:a@h>;{IM}, <sip:d@h>;q=0.1;{IM}"),
                (NONE, f"<sip:b@h>, <sip:e@h>;{AD}"),
                (AD_MARKS, f"<sip:c@h>;{AD};{IM}"),
                (LARGE_MARKS, f"<sip:f@h>;{LARGE}"),
            ],
        ),
    ],
)
def test_contacts_with_the_same_marks_stand_together(value: str, groups: list[tuple[frozenset[Mark], str]]) -> None:
    assert contacts_by_marks(value) == groups


@given(st.text(alphabet='+g.poc.groupad+g.oma.sip-im;,"\\<>=* ', max_size=60))
def test_no_contact_is_lost_whatever_its_marks(text: str) -> None:
    contacts = [contact.strip() for _, value in contacts_by_marks(text) for contact in value.split(",")]
    assert sorted(filter(None, contacts)) == sorted(filter(None, (part.strip() for part in text.split(","))))


@pytest.mark.requirement("ADV-03")
@pytest.mark.parametrize(
    ("value", "asked"),
    [
        ("", False),
        ("*;+g.oma.sip-im;require;explicit", False),
        ("*;+g.oma.sip-im;+g.poc.groupad;require;explicit", True),
        ("*;+g.oma.sip-im;+g.poc.groupad", True),
        ("*;explicit;+G.POC.GroupAd;+g.oma.sip-im", True),
        ('*;+g.oma.sip-im;+g.poc.groupad="TRUE"', True),
        ("*;+g.oma.sip-im;require,*;+g.poc.groupad;require;explicit", True),
        ('*;+g.oma.sip-im;+g.poc.groupad="FALSE"', False),
        ('*;+g.oma.sip-im;+g.poc.groupad="!TRUE"', False),
        ('*;+g.oma.sip-im;x="+g.poc.groupad"', False),
        ("*;+g.oma.sip-im;+g.poc.groupads", False),
    ],
)
def test_what_asks_for_devices_that_take_advertisements(value: str, asked: bool) -> None:
    assert asks_for_advertisement_devices(value) is asked


@pytest.mark.requirement("IDN-04")
@pytest.mark.parametrize(
    ("value", "asked"),
    [
        ("id", True),
        ("ID", True),
        ("header;id", True),
        ("id; critical", True),
        ("user, id", True),
        ("header;session;user", False),
        ("none", False),
        ("identity", False),
        ("history", False),
        ("", False),
    ],
)
def test_privacy_id_asks_for_anonymity(value: str, asked: bool) -> None:
    assert asks_for_anonymity(value) is asked


@pytest.mark.requirement("PAG-03", "PAG-17")
@pytest.mark.parametrize(
    ("content_type", "allowed", "accepted"),
    [
        ("text/plain", ("*",), True),
        ("message/external-body; access-type=URL", ("*",), True),
        ("TEXT/Plain;charset=utf-8", ("text/plain",), True),
        ("text/html", ("text/*",), True),
        ("text/html", ("*/*",), True),
        ("text/html", ("text/plain", "message/*"), False),
        ("message/external-body", ("text/*", "message/cpim"), False),
        ("application/text", ("text/*",), False),
        ("textual/plain", ("text/*",), False),
        ("", ("text/plain",), True),
        ("", ("image/*",), False),
        ("nonsense", ("text/*",), False),
    ],
)
def test_content_types_match_their_patterns(content_type: str, allowed: tuple[str, ...], accepted: bool) -> None:
    assert content_type_allowed(content_type, allowed) is accepted


def test_a_media_type_is_bare_and_lower_case() -> None:
    assert media_type(" Application/IM-isComposing+XML ; charset=utf-8") == "application/im-iscomposing+xml"


@pytest.mark.requirement("PAG-04", "DEF-10")
@pytest.mark.parametrize(
    ("expires", "date", "when"),
    [
        ("60", "", NOW + 60),
        ("0", "", NOW),
        (" 60 ", DATE, NOW + 60),
        ("60", "Fri, 20 Nov 2026 23:59:00 GMT", NOW),
        ("30", "Fri, 20 Nov 2026 23:59:00 GMT", NOW - 30),
        ("60", "Sat, 21 Nov 2026 01:00:00 GMT", NOW + 3660),
        ("60", "Sat, 21 Nov 2026 01:00:00 +0100", NOW + 60),
        ("60", "yesterday", NOW + 60),
        ("60", "Sat, 99 Nov 2026 00:00:00 GMT", NOW + 60),
        ("007", "", NOW + 7),
        ("4294967295", "", NOW + MAX_DELTA),
        ("4294967296", "", NOW + MAX_DELTA),
        ("9" * 400, "", NOW + MAX_DELTA),
        ("9" * 5000, "", NOW + MAX_DELTA),
        ("0" * 5000, "", NOW),
        ("", DATE, None),
        ("-1", "", None),
        ("+60", "", None),
        ("1_000", "", None),
        ("٦٠", "", None),
        ("60;x", "", None),
        ("soon", "", None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_expiry_counts_from_date_or_reception(expires: str, date: str, when: float | None) -> None:
    assert expiry(expires, date, NOW) == when


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_expires_or_date_breaks_the_arithmetic(expires: str, date: str) -> None:
    when = expiry(expires, date, NOW)
    assert when is None or isinstance(when, float)


@pytest.mark.requirement("PAG-16")
@pytest.mark.parametrize(
    ("uri", "routed", "kind"),
    [
        ("sip:bob@h;session=1-1", "sip:bob@h", "1-1"),
        ("sip:bob@h;session=adhoc", "sip:bob@h", "adhoc"),
        ("sip:g@h;session=prearranged;transport=tcp", "sip:g@h;transport=tcp", "prearranged"),
        ("sip:g@h;transport=tcp;session=chat", "sip:g@h;transport=tcp", "chat"),
        ("sip:g@h;sessiontype=chat", "sip:g@h", "chat"),
        ("sip:g@h;Session=CHAT", "sip:g@h", "chat"),
        ("sip:g@h;session=chat?Subject=x", "sip:g@h?Subject=x", "chat"),
        ("sip:g@h:5060;session=chat;sessiontype=adhoc", "sip:g@h:5060", "chat"),
        ("sip:g@h;session=", "sip:g@h", ""),
        ("sip:h;session=chat", "sip:h", "chat"),
        ("sip:bob@h", "sip:bob@h", ""),
        ("sip:bob@h;sessions=chat", "sip:bob@h;sessions=chat", ""),
        ("sip:bob@h;session", "sip:bob@h;session", ""),
        ("sip:bob;session=chat@h", "sip:bob;session=chat@h", ""),
        ("sip:bob@h?Subject=a;session=chat", "sip:bob@h?Subject=a;session=chat", ""),
    ],
)
def test_the_session_parameter_is_read_and_taken_off(uri: str, routed: str, kind: str) -> None:
    assert without_session_parameter(uri) == (routed, kind)


@pytest.mark.requirement("IDN-02", "COR-02")
@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sip:alice@example.com", "sip:alice@example.com"),
        ("SIP:alice@EXAMPLE.com", "sip:alice@example.com"),
        ("sips:alice@example.com", "sip:alice@example.com"),
        (" sip:alice@example.com:5070;transport=tcp?Subject=x ", "sip:alice@example.com"),
        ("sip:alice:secret@example.com", "sip:alice@example.com"),
        ("sip:Alice@example.com", "sip:Alice@example.com"),
        ("sip:%61lic%65@example.com", "sip:alice@example.com"),
        ("sip:a%40b%2f@example.com", "sip:a%40b%2F@example.com"),
        ("sip:%2B358@example.com", "sip:%2B358@example.com"),
        ("sip:+358;phone-context=x.org@example.com;user=phone", "sip:+358;phone-context=x.org@example.com"),
        ("sip:a?b/c@example.com", "sip:a?b/c@example.com"),
        ("sip:alice@[2001:DB8::1]:5060", "sip:alice@[2001:db8::1]"),
        ("sip:alice@[2001:0db8:0:0::1]", "sip:alice@[2001:db8::1]"),
        ("sip:alice@192.0.2.1", "sip:alice@192.0.2.1"),
        ("sip:%00@example.com", "sip:%00@example.com"),
        ("", ""),
        ("sip:", ""),
        ("sip:example.com", ""),
        ("sip:@example.com", ""),
        ("sip:alice@", ""),
        ("sip:alice", ""),
        ("tel:+358401234567", ""),
        ("im:alice@example.com", ""),
        ("mailto:alice@example.com", ""),
        ("<sip:alice@example.com>", ""),
        ("sip:alice@example.com>", ""),
        ("sip:alice@example.com\r\nX: y", ""),
        ("sip:al\x00ice@example.com", ""),
        ("sip:al ice@example.com", ""),
        ("sip:jörg@example.com", ""),
        ("sip:alice@example.com@evil.org", ""),
        ("sip:alice@lin\u212a.com", ""),
        ("sip:alice@[::1", ""),
        ("sip:alice@[1:2:3]", ""),
        ("sip:alice@example.com:port", ""),
        ("sip:al%6@example.com", ""),
        ("xsip:alice@example.com", ""),
    ],
)
def test_an_address_has_one_spelling_and_garbage_none(uri: str, expected: str) -> None:
    assert canonical(uri) == expected


@given(st.from_regex(r"\A(?:[a-zA-Z0-9\-_.!~*'()&=+$,;?/]|%[0-9A-Fa-f]{2}){1,20}\Z"))
def test_a_canonical_address_stays_as_it_is_on_both_sides_of_the_link(name: str) -> None:
    once = canonical(f"sip:{name}@Example.COM:5060;user=phone")
    assert once.startswith("sip:") and once.endswith("@example.com")
    assert canonical(once) == once
    assert address.canonical(once) == once


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("reader", [canonical, carries_feature_tag, media_type, without_session_parameter])
def test_made_up_values_do_not_fill_the_memory(reader: Any) -> None:
    kept = reader.__wrapped__.cache_info
    reader("sip:short@example.com")
    before = kept().currsize
    for number in range(100):
        reader(f"sip:{number}{'x' * 60_000}@example.com")
    assert kept().currsize == before


@given(st.text(max_size=40))
def test_no_text_breaks_the_reading_of_addresses(text: str) -> None:
    for uri in (text, f"sip:{text}", f"sip:{text}@example.com", f"sip:a@{text}"):
        found = canonical(uri)
        assert found == "" or (found.isascii() and found.isprintable() and canonical(found) == found)


@pytest.mark.parametrize(("uri", "host"), [("sip:alice@example.com", "example.com"), ("sip:a@[::1]", "[::1]"), ("", "")])
def test_the_host_of_an_address(uri: str, host: str) -> None:
    assert host_of(uri) == host
