"""What a REFER asks of the focus, and who may ask it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.controlling import refer
from msrp_worker.controlling.refer import Asked, Referral, Sorted, Standing, read_referral
from msrp_worker.controlling.refusal import Refused
from msrp_worker.group import Group, Member
from msrp_worker.sip.message import MalformedMessage, Message, read
from msrp_worker.uri_list import Recipient, UriList
from tests.msrp_worker.sip.sip_text import Lines, request

ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))
GROUP = Group("sip:friends@example.com", members=(Member(ALICE), Member(BOB)))
LIST_TYPE = ("Content-Type", "application/resource-lists+xml")


def asking(*lines: tuple[str, str], body: bytes = b"") -> Message:
    """A REFER."""
    return read(request("REFER", 1, lines=lines, body=body))


def listing(*uris: str, lines: Lines = (), pointer: str = "l@x", name: str = "l@x") -> Message:
    """A REFER with a list."""
    entries = "".join(f'<entry uri="{uri}"/>' for uri in uris)
    body = f'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list>{entries}</list></resource-lists>'
    fields = [
        LIST_TYPE,
        ("Content-ID", f"<{name}>"),
        ("Content-Disposition", "recipient-list"),
        ("Refer-To", f"<cid:{pointer}>"),
        ("Require", "multiple-refer"),
    ]
    return asking(*fields, *lines, body=body.encode())


@pytest.mark.requirement("CNF-22", "CNF-25")
@pytest.mark.parametrize(
    ("refer_to", "asked", "target"),
    [
        (f"<{BOB}>", Asked.INVITE, BOB),
        (BOB, Asked.INVITE, BOB),
        (f'"Bob <b>" <{BOB}>;x=y', Asked.INVITE, BOB),
        (f"<{BOB};method=INVITE>", Asked.INVITE, BOB),
        (f"<{BOB};METHOD=bye;transport=tcp>", Asked.BYE, f"{BOB};transport=tcp"),
        (f"<{BOB}?method=BYE&Subject=x>", Asked.BYE, BOB),
        (f"<{BOB}?Replaces=a%3Bto-tag%3Db>", Asked.INVITE, BOB),
        ("<tel:+15551234>", Asked.INVITE, "tel:+15551234"),
    ],
)
def test_one_user(refer_to: str, asked: Asked, target: str) -> None:
    """Method and header components never reach the Request-URI."""
    found = read_referral(asking(("Refer-To", refer_to)))
    assert isinstance(found, Referral)
    assert (found.asked, found.several, found.silent, found.anonymous) == (asked, False, False, False)
    assert [one.target for one in found.users.recipients] == [target]


@pytest.mark.requirement("CNF-22")
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([], 400),
        ([("Refer-To", f"<{BOB}>, <{CAROL}>")], 400),
        ([("Refer-To", "<http://example.com>")], 400),
        ([("Refer-To", "<sip:>")], 400),
        ([("Refer-To", "nonsense")], 400),
        ([("Refer-To", "<cid:l@x>")], 400),
        ([("Refer-To", f"<{BOB};method=REFER>")], 403),
        ([("Refer-To", f"<{BOB}>"), ("Require", "norefersub, other")], 420),
    ],
)
def test_requests_that_say_nothing(lines: Lines, status: int) -> None:
    found = read_referral(asking(*lines))
    assert isinstance(found, Refused) and found.status == status
    if status == 420:
        assert found.headers("x") == (("Unsupported", "other"),)


@pytest.mark.requirement("CNF-22")
def test_a_list() -> None:
    """Each user once, whatever its methods and header components."""
    found = read_referral(listing(BOB, f"{CAROL}?method=INVITE", "sip:bob@EXAMPLE.com"))
    assert isinstance(found, Refused) and found.status == 400, "an entry without method beside one with"
    found = read_referral(listing(f"{BOB};method=BYE", f"{CAROL}?method=BYE", "sip:bob@EXAMPLE.com;method=BYE"))
    assert isinstance(found, Referral)
    assert (found.asked, found.several) == (Asked.BYE, True)
    assert [(one.uri, one.target) for one in found.users.recipients] == [(BOB, BOB), (CAROL, CAROL)]


@pytest.mark.requirement("CNF-22")
@pytest.mark.parametrize(
    ("message", "status"),
    [
        (listing(BOB, pointer="other@x"), 400),
        (listing(), 400),
        (listing("http://example.com"), 400),
        (asking(("Refer-To", "<cid:l@x>"), LIST_TYPE, ("Content-ID", "<l@x>"), body=b"<no xml"), 400),
        (asking(("Refer-To", "<cid:l@x>"), ("Content-Type", "text/plain"), ("Content-ID", "<l@x>"), body=b"x"), 400),
        (listing(*(f"tel:+{number}" for number in range(5001))), 486),
    ],
)
def test_lists_that_cannot_be_served(message: Message, status: int) -> None:
    found = read_referral(message)
    assert isinstance(found, Refused) and found.status == status


@pytest.mark.requirement("CNF-22")
def test_a_list_beside_other_parts() -> None:
    """The pointer chooses the part by its Content-ID."""
    entry = f'<entry uri="{BOB}"/>'
    document = f'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list>{entry}</list></resource-lists>'
    body = (
        "--b\r\nContent-Type: text/plain\r\nContent-ID: <a@x>\r\n\r\nhello\r\n--b\r\n"
        "Content-Type: application/resource-lists+xml\r\nContent-ID: <l@x>\r\n"
        f"Content-Disposition: recipient-list\r\n\r\n{document}\r\n--b--\r\n"
    )
    kind = ("Content-Type", "multipart/mixed;boundary=b")
    found = read_referral(asking(("Refer-To", "<cid:l@x>"), kind, body=body.encode()))
    assert isinstance(found, Referral) and [one.uri for one in found.users.recipients] == [BOB]
    found = read_referral(asking(("Refer-To", "<cid:a@x>"), kind, body=body.encode()))
    assert isinstance(found, Refused)


@pytest.mark.requirement("CNF-23")
@pytest.mark.parametrize(
    ("lines", "silent"),
    [
        ([], False),
        ([("Refer-Sub", "true")], False),
        ([("Refer-Sub", "false")], True),
        ([("Refer-Sub", "False ; x=y")], True),
        ([("Norefer-Sub", "true")], True),
        ([("Norefer-Sub", "false")], False),
        ([("Refer-Sub", "true"), ("Norefer-Sub", "true")], False),
    ],
)
def test_whether_to_tell(lines: Lines, silent: bool) -> None:
    found = read_referral(asking(("Refer-To", f"<{BOB}>"), *lines))
    assert isinstance(found, Referral) and found.silent is silent
    headers = dict(refer.answer_headers(found, "<sip:x>", outside=True))
    assert ("Refer-Sub" in headers) is silent and "norefersub" in headers["Supported"]
    assert "Supported" not in dict(refer.answer_headers(found, "<sip:x>", outside=False))


def standing(user: str, **options: object) -> Standing:
    """Alice has begun a session with Bob."""
    return Standing(user, {ALICE, BOB}, ALICE, **options)  # type: ignore[arg-type]


@pytest.mark.requirement("CNF-31", "IDN-06")
@pytest.mark.parametrize(
    ("who", "anonymous", "requirement"),
    [
        (standing(ALICE), False, ""),
        (standing(BOB), True, ""),
        (standing(CAROL), False, "CNF-31"),
        (standing(BOB, anyone_adds=False), False, "CNF-31"),
        (standing(ALICE, anyone_adds=False), False, ""),
        (standing(BOB, group=GROUP), False, ""),
        (standing(BOB, group=GROUP), True, "IDN-06"),
        (standing(CAROL, group=GROUP), False, "CNF-31"),
    ],
)
def test_who_adds(who: Standing, anonymous: bool, requirement: str) -> None:
    found = refer.judge_adding(who, anonymous=anonymous)
    assert (found.requirement if found else "") == requirement
    assert found is None or found.status == 403


@pytest.mark.requirement("CNF-31")
def test_who_is_added() -> None:
    """In a group, who may take part in it; the request is refused only when nobody is left."""
    users = UriList(tuple(Recipient(uri, uri) for uri in (ALICE, BOB, CAROL)))
    assert refer.sort_out(users, {ALICE}, GROUP) == Sorted((ALICE,), (users.recipients[1],), (CAROL,))
    assert refer.sort_out(users, {ALICE}, None) == Sorted((ALICE,), users.recipients[1:], ())
    found = refer.sort_out(UriList((Recipient(CAROL, CAROL),)), {ALICE}, GROUP)
    assert isinstance(found, Refused) and (found.status, found.requirement) == (403, "CNF-31")


@pytest.mark.requirement("CNF-25")
@pytest.mark.parametrize(
    ("who", "keys", "allowed"),
    [
        (standing(BOB), [BOB], True),
        (standing(BOB), [ALICE], False),
        (standing(BOB), [BOB, ALICE], False),
        (standing(ALICE), [BOB], True),
        (standing(ALICE), [CAROL], False),
        (standing(ALICE), [CAROL, BOB], True),
        (standing(CAROL), [CAROL], False),
        (standing(ALICE, group=GROUP), [BOB], False),
        (standing(ALICE, group=GROUP), [ALICE], True),
    ],
)
def test_who_removes(who: Standing, keys: list[str], allowed: bool) -> None:
    found = refer.judge_removing(who, keys, {ALICE, BOB})
    assert (found is None) is allowed
    assert found is None or (found.status, found.requirement) == (403, "CNF-25")


@pytest.mark.requirement("SEC-05")
@given(st.text(), st.text(), st.binary())
def test_any_text(refer_to: str, kind: str, body: bytes) -> None:
    """Whatever a REFER says, it is read or refused with a status."""
    head = f"REFER sip:x SIP/2.0\r\nCall-ID: c\r\nCSeq: 1 REFER\r\nRefer-To: {refer_to}\r\nContent-Type: {kind}\r\n\r\n"
    try:
        message = read(head.encode("utf-8", "replace") + body)
    except MalformedMessage:
        return
    found = read_referral(message)
    assert isinstance(found, Referral) or 400 <= found.status < 500
