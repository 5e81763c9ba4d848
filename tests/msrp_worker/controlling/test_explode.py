"""Who gets a copy of a message to many, and what the copies say."""

from __future__ import annotations

from typing import Any

import pytest

from msrp_worker.controlling.explode import (
    Explosion,
    Refused,
    copy_headers,
    explosion,
    read_list,
    refuse_advertisement,
    refuse_by_group,
    screen,
)
from msrp_worker.group import Group, Member, parse_group
from msrp_worker.multipart import read_parts
from msrp_worker.sip.message import Message, read
from msrp_worker.uri_list import UriList

ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))
FACTORY = "sip:conference-factory@example.com"
ENTRY = '<entry uri="{0}" cp:copyControl="{1}"{2}/>'
SPACES = 'xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:cp="urn:ietf:params:xml:ns:copycontrol"'


def uri_list(*entries: tuple[str, str] | tuple[str, str, str]) -> bytes:
    inside = "".join(ENTRY.format(entry[0], entry[1], *(entry[2:] or ("",))) for entry in entries)
    return f"<resource-lists {SPACES}><list>{inside}</list></resource-lists>".encode()


def mixed(document: bytes, *contents: tuple[str, bytes]) -> tuple[str, bytes]:
    parts = b"".join(b"--b1\r\nContent-Type: %b\r\n\r\n%b\r\n" % (kind.encode(), body) for kind, body in contents)
    head = b"Content-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n\r\n"
    return "multipart/mixed;boundary=b1", parts + b"--b1\r\n" + head + document + b"\r\n--b1--\r\n"


def message(content: tuple[str, bytes], *lines: str, sender: str = f'"Al <ice>" <{ALICE}>;tag=a1') -> Message:
    kind, body = content
    head = [
        f"MESSAGE {FACTORY} SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1",
        f"From: {sender}",
        f"To: <{FACTORY}>",
        "Call-ID: one",
        "CSeq: 7 MESSAGE",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        *lines,
    ]
    return read("\r\n".join(head).encode() + b"\r\n\r\n" + body)


def exploded(request: Message, recipients: tuple[str, ...] = (BOB,), **changes: Any) -> Explosion:
    values = {"originator": ALICE, "anonymous": False, "received": 100.0, "expires": None, "requirement": "PAG-11"}
    made = explosion(request, "e1", recipients, **{**values, **changes})
    assert isinstance(made, Explosion)
    return made


TEXT = ("text/plain", b"Hello")
TO_TWO = uri_list((BOB, "to"), (CAROL, "cc"))


@pytest.mark.requirement("PAG-11")
def test_the_list_goes_and_one_content_needs_no_wrapper() -> None:
    request = message(mixed(uri_list((BOB, "bcc")), TEXT))
    listed = read_list(request, 10)
    assert isinstance(listed, UriList)
    made = exploded(request, listed=listed)
    assert made.body == b"Hello"
    assert dict(made.headers)["Content-Type"] == "text/plain"


@pytest.mark.requirement("PAG-11")
def test_recipients_learn_of_those_in_to_and_cc() -> None:
    request = message(
        mixed(uri_list((BOB, "to"), (CAROL, "cc", ' cp:anonymize="true"'), ("sip:dave@example.com", "bcc")), TEXT)
    )
    listed = read_list(request, 10)
    assert isinstance(listed, UriList)
    made = exploded(request, listed=listed)
    text, history = read_parts(dict(made.headers)["Content-Type"], made.body)
    assert (text.content_type, text.body) == TEXT
    assert history.header("Content-Disposition") == "recipient-list-history; handling=optional"
    assert BOB.encode() in history.body
    assert b"sip:anonymous@anonymous.invalid" in history.body
    assert b"carol" not in history.body and b"dave" not in history.body


@pytest.mark.requirement("PAG-11")
@pytest.mark.parametrize(
    ("content", "most", "status"),
    [
        (TEXT, 10, 400),
        (mixed(uri_list(), TEXT), 10, 400),
        (mixed(b"<resource-lists", TEXT), 10, 400),
        (mixed(uri_list(("mailto:bob@example.com", "to")), TEXT), 10, 400),
        (mixed(TO_TWO, TEXT), 1, 413),
        (("multipart/mixed;boundary=b1", mixed(TO_TWO, TEXT)[1][:-8]), 10, 400),
    ],
)
def test_a_bad_list(content: tuple[str, bytes], most: int, status: int) -> None:
    refused = read_list(message(content), most)
    assert isinstance(refused, Refused)
    assert (refused.status, refused.requirement) == (status, "PAG-11")


@pytest.mark.requirement("PAG-11", "SEC-03")
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("Require: recipient-list-message", None),
        ("Require: Recipient-List-Message, timer", 420),
        ("IM-Exploded: 2", None),
        ("IM-Exploded: 3", 482),
        ("IM-Exploded: x", None),
    ],
)
def test_what_refuses_every_message_to_many(line: str, status: int | None) -> None:
    refused = screen(message(TEXT, line))
    assert (refused and refused.status) == status
    if status == 420:
        assert refused is not None and refused.headers == (("Unsupported", "timer"),)


@pytest.mark.requirement("PAG-15", "IDN-04")
def test_what_a_copy_says() -> None:
    lines = (
        "Subject: s",
        "Privacy: id",
        "Date: Sat, 21 Nov 2026 00:00:00 GMT",
        "Route: <sip:x>",
        "Contact: <sip:a@1.2.3.4>",
    )
    one = exploded(message(TEXT, *lines, "Content-Language: en"), (BOB, CAROL, BOB))
    assert one.recipients == (BOB, CAROL)
    headers = copy_headers(one, BOB, "t1", "example.com")
    values = dict(headers)
    assert values["From"] == f'"Al <ice>" <{ALICE}>;tag=t1'
    assert values["To"] == f"<{BOB}>"
    assert values["CSeq"] == "1 MESSAGE"
    assert values["P-Asserted-Identity"] == f"<{ALICE}>"
    assert values["Accept-Contact"] == "*;+g.oma.sip-im;require;explicit"
    assert (values["Subject"], values["Privacy"], values["Content-Language"]) == ("s", "id", "en")
    assert not {"Route", "Contact", "Via"} & values.keys()
    others = {dict(copy_headers(one, uri, "t1", "example.com"))["Call-ID"] for uri in (BOB, CAROL)}
    assert len(others) == 2 and "one" not in others
    assert copy_headers(one, BOB, "t1", "example.com") == headers, "a copy sent twice is known as one"


@pytest.mark.requirement("PAG-13")
def test_a_message_to_a_session_is_from_the_session() -> None:
    session = "<sip:im-session-1@192.0.2.1:5060>"
    one = exploded(message(TEXT), sender=session)
    assert dict(copy_headers(one, BOB, "t1", "example.com"))["From"] == f"{session};tag=t1"


MEMBERS = Group(uri="sip:g@example.com", members=(Member(ALICE), Member(BOB)))
SPACE = "urn:oma:xml:poc:list-service"
ACTIONS = "".join(f'<{name} xmlns="{SPACE}">true</{name}>' for name in ("join-handling", "allow-anonymity"))
RULES = (
    '<ruleset xmlns="urn:ietf:params:xml:ns:common-policy"><rule id="r"><conditions><identity>'
    f'<one id="{ALICE}"/></identity></conditions><actions>{ACTIONS}</actions></rule></ruleset>'
)
LIST_SERVICE = f'<list-service uri="sip:g@example.com"><list><entry uri="{ALICE}"/></list>{RULES}</list-service>'
SILENT = parse_group(f'<group xmlns="{SPACE}">{LIST_SERVICE}</group>'.encode())


@pytest.mark.requirement("PAG-12", "PAG-14", "IDN-06")
@pytest.mark.parametrize(
    ("group", "originator", "anonymous", "expected"),
    [
        (None, ALICE, False, (404, "PAG-12")),
        (MEMBERS, CAROL, False, (403, "PAG-14")),
        (MEMBERS, ALICE, True, (403, "IDN-06")),
        (MEMBERS, ALICE, False, None),
        (SILENT, ALICE, True, None),
        (SILENT, BOB, False, (403, "PAG-14")),
    ],
)
def test_who_may_send_to_a_group(
    group: Group | None, originator: str, anonymous: bool, expected: tuple[int, str] | None
) -> None:
    refused = refuse_by_group(group, originator, anonymous=anonymous)
    assert (None if refused is None else (refused.status, refused.requirement)) == expected


ADVERTISEMENT = (
    "application/vnd.IM.group-advertisement+xml",
    b'<group-advertisement xmlns="urn:oma:params:xml:ns:IM:group-advertisement"><group><uri>sip:g@example.com</uri></group>'
    b"</group-advertisement>",
)


@pytest.mark.requirement("ADV-01", "ADV-02")
@pytest.mark.parametrize(
    ("content", "anonymous", "expected"),
    [
        (TEXT, True, None),
        (ADVERTISEMENT, False, None),
        (ADVERTISEMENT, True, (403, "ADV-01")),
        (mixed(TO_TWO, ADVERTISEMENT), True, (403, "ADV-01")),
        ((ADVERTISEMENT[0], b"<broken"), False, (400, "ADV-02")),
        (mixed(TO_TWO, (ADVERTISEMENT[0], b"<broken/>")), False, (400, "ADV-02")),
        (mixed(TO_TWO, ADVERTISEMENT), False, None),
        (("multipart/mixed;boundary=none", b"x"), False, (400, "SEC-05")),
    ],
)
def test_group_advertisements(content: tuple[str, bytes], anonymous: bool, expected: tuple[int, str] | None) -> None:
    refused = refuse_advertisement(message(content), anonymous=anonymous)
    assert (None if refused is None else (refused.status, refused.requirement)) == expected


@pytest.mark.requirement("ADV-01", "ADV-03")
def test_what_asks_for_devices_that_know_advertisements_is_not_anonymous() -> None:
    refused = refuse_advertisement(message(TEXT, ASKING), anonymous=True)
    assert refused is not None and (refused.status, refused.requirement) == (403, "ADV-01")


ASKING = "Accept-Contact: *;+g.oma.sip-im;+g.poc.groupad;require;explicit"


@pytest.mark.requirement("ADV-03")
@pytest.mark.parametrize(
    ("content", "lines", "routed"),
    [
        (ADVERTISEMENT, [ASKING], True),
        (ADVERTISEMENT, ["Accept-Contact: *;+g.oma.sip-im"], True),
        (ADVERTISEMENT, [], True),
        (mixed(TO_TWO, TEXT, ADVERTISEMENT), [], True),
        (TEXT, [ASKING], True),
        (TEXT, ["a: *;+g.oma.sip-im;require, *;+G.POC.groupad"], True),
        (TEXT, ["Accept-Contact: *;+g.oma.sip-im", 'Accept-Contact: *;explicit;+g.poc.groupad="TRUE"'], True),
        (TEXT, ['Accept-Contact: *;+g.oma.sip-im;+g.poc.groupad="FALSE"'], False),
        (TEXT, ['Accept-Contact: *;+g.oma.sip-im;x=";+g.poc.groupad"'], False),
        (TEXT, ["Accept-Contact: *;+g.oma.sip-im"], False),
        (TEXT, [], False),
    ],
)
def test_an_advertisement_asks_for_devices_that_know_it(content: tuple[str, bytes], lines: list[str], routed: bool) -> None:
    one = exploded(message(content, *lines))
    tag = ";+g.poc.groupad" if routed else ""
    assert dict(one.headers)["Accept-Contact"] == f"*;+g.oma.sip-im{tag};require;explicit"


@pytest.mark.requirement("PAG-11", "SEC-01")
@pytest.mark.parametrize("kind", ["text/plain\rRoute: <sip:eve@h>", "text/plain\r\nContent-ID: <a>\rb", "text/plain;a=\0"])
def test_a_part_brings_no_line_break_into_the_headers(kind: str) -> None:
    """The one part that is left is no wrapper's part any more: its header fields become those of SIP."""
    request = message(mixed(uri_list((BOB, "bcc")), (kind, b"x")))
    listed = read_list(request, 10)
    assert isinstance(listed, UriList)
    made = explosion(
        request, "e1", (BOB,), originator=ALICE, anonymous=False, received=1.0, expires=None, requirement="", listed=listed
    )
    assert isinstance(made, Refused) and made.status == 400
