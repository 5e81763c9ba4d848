"""The checks of the focus before anything happens: factory, list, group, identity (7.2.1.2 to 7.2.1.5)."""

from __future__ import annotations

import pytest

from msrp_worker.controlling import joining, set_up
from msrp_worker.controlling.expansion import expanded
from msrp_worker.controlling.identity import SessionAddress, anonymous_uri, new_session_user, session_user
from msrp_worker.controlling.refusal import Refused, forbidden, not_acceptable, too_many
from msrp_worker.controlling.release_policy import SessionKind
from msrp_worker.group import Group, GroupKind, Member
from msrp_worker.group_rules import GroupRights, rights
from msrp_worker.sip.message import Message, read
from msrp_worker.uri_list import Recipient, UriList
from tests.msrp_worker.sip.sip_text import request

ALICE, BOB, CAROL, DAVE = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol", "dave"))
DOMAIN = "example.com"
LIST = '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list>{}</list></resource-lists>'


def invite(*uris: str, document: str = "", kind: str = "application/resource-lists+xml") -> Message:
    """An INVITE whose body is a list."""
    body = document or LIST.format("".join(f'<entry uri="{uri}"/>' for uri in uris))
    lines = (("Content-Type", kind), ("Content-Disposition", "recipient-list"))
    return read(request("INVITE", 1, lines=lines, body=body.encode()))


def listed(*uris: str) -> UriList:
    return UriList(tuple(Recipient(uri, uri) for uri in uris))


@pytest.mark.requirement("CNF-01")
@pytest.mark.parametrize(
    ("recipient", "status"),
    [
        ("sip:conference-factory@example.com", None),
        ("sip:Conference-Factory@example.com", None),
        ("sip:conference-factory@example.org", 404),
        ("sip:conference@example.com", 404),
        ("tel:+1234", 404),
    ],
)
def test_factory(recipient: str, status: int | None) -> None:
    refused = set_up.judge_factory(recipient, DOMAIN)
    assert (None if refused is None else (refused.status, refused.requirement)) == (
        None if status is None else (status, "CNF-01")
    )


@pytest.mark.requirement("CNF-02", "IDN-01")
@pytest.mark.parametrize(
    ("originator", "known", "allowed", "requirement"),
    [
        ("", False, False, "IDN-01"),
        (ALICE, False, False, "CNF-02"),
        (ALICE, True, False, "CNF-02"),
        (ALICE, True, True, ""),
    ],
)
def test_initiator(originator: str, known: bool, allowed: bool, requirement: str) -> None:
    refused = set_up.judge_initiator(originator, known=known, allowed=allowed)
    assert ("" if refused is None else refused.requirement) == requirement
    assert refused is None or refused.status == 403


@pytest.mark.requirement("CNF-06", "CNF-05")
@pytest.mark.parametrize(
    ("message", "status", "requirement"),
    [
        (invite(document=LIST.format("")), 400, "CNF-06"),
        (invite(document="<no"), 400, "CNF-06"),
        (invite("mailto:a@b"), 400, "CNF-06"),
        (invite("bob"), 400, "CNF-06"),
        (invite(document=LIST.format('<external anchor="http://x/"/>')), 400, "CNF-06"),
        (invite(BOB, kind="text/plain"), 415, "CNF-06"),
        (read(request("INVITE", 1, body=b"v=0\r\n", lines=(("Content-Type", "application/sdp"),))), 400, "CNF-06"),
        (invite(*(f"sip:u{number}@h" for number in range(4_999))), None, ""),
    ],
)
def test_lists(message: Message, status: int | None, requirement: str) -> None:
    found = set_up.read_list(message, ALICE)
    if status is None:
        assert isinstance(found, UriList)
        return
    assert isinstance(found, Refused)
    assert (found.status, found.requirement) == (status, requirement)
    assert found.warning


@pytest.mark.requirement("CNF-05", "CNF-10")
def test_how_many_are_listed() -> None:
    """The initiator counts."""
    assert set_up.judge_list(listed(BOB, CAROL), 3) is None
    refused = set_up.judge_list(listed(BOB, CAROL, DAVE), 3)
    assert refused == too_many("CNF-05")
    assert refused.headers("example.com") == (("Warning", '399 example.com "Too many participants"'),)
    assert set_up.judge_list(listed(), 3) == Refused(400, "Bad Request", "CNF-06", "URI-list: nobody to invite")
    assert set_up.kind_of(1) is SessionKind.ONE_TO_ONE
    assert set_up.kind_of(2) is SessionKind.AD_HOC


FRIENDS = Group("sip:friends@example.com", members=(Member(ALICE), Member(BOB), Member(CAROL, "Caro")))
NESTED = Group(
    "sip:all@example.com", members=(Member(ALICE), Member(FRIENDS.uri), Member(DAVE), Member("sip:all@example.com"))
)
STRANGERS = Group("sip:strangers@example.com", members=(Member(DAVE),))
GROUPS = {group.uri: group for group in (FRIENDS, NESTED, STRANGERS)}


async def find(uri: str) -> Group | None:
    return GROUPS.get(uri)


@pytest.mark.requirement("CNF-06")
@pytest.mark.parametrize(
    ("uris", "expected"),
    [
        ((BOB, ALICE, CAROL), [BOB, CAROL]),
        ((DAVE, FRIENDS.uri), [DAVE, BOB, CAROL]),
        ((NESTED.uri, BOB), [BOB, CAROL, DAVE]),
        ((ALICE,), []),
        ((STRANGERS.uri,), 403),
    ],
)
async def test_groups_in_a_list(uris: tuple[str, ...], expected: list[str] | int) -> None:
    """Members in place of groups, each once, the initiator left out; no look into groups of others."""
    found = await expanded(listed(*uris), ALICE, 10, find)
    if isinstance(found, Refused):
        assert found.status == expected
        return
    assert [one.uri for one in found.recipients] == expected


@pytest.mark.requirement("CNF-05", "CNF-06")
async def test_no_more_is_looked_at_than_needed() -> None:
    """A list of many groups costs no more than the limit."""
    asked: list[str] = []

    async def count(uri: str) -> Group | None:
        asked.append(uri)
        return None

    found = await expanded(listed(*(f"sip:u{number}@h" for number in range(1000))), ALICE, 5, count)
    assert isinstance(found, UriList) and len(found) == 6 == len(asked)
    assert set_up.judge_list(found, 5) == too_many("CNF-05")


ALL = GroupRights(join=True, initiate=True, anonymity=True)


@pytest.mark.requirement("CNF-14", "CNF-15", "IDN-06")
@pytest.mark.parametrize(
    ("may", "starting", "anonymous", "requirement"),
    [
        (ALL, True, True, ""),
        (GroupRights(join=True, initiate=True), True, False, ""),
        (GroupRights(join=True, initiate=True), True, True, "IDN-06"),
        (GroupRights(join=True), True, False, "CNF-14"),
        (GroupRights(join=True), False, False, ""),
        (GroupRights(initiate=True), True, False, "CNF-15"),
        (GroupRights(), True, True, "CNF-14"),
        (GroupRights(), False, True, "CNF-15"),
    ],
)
def test_groups(may: GroupRights, starting: bool, anonymous: bool, requirement: str) -> None:
    refused = joining.judge_group(may, starting=starting, anonymous=anonymous)
    assert ("" if refused is None else refused.requirement) == requirement
    assert refused is None or refused.status == 403


@pytest.mark.requirement("CNF-15")
def test_ad_hoc() -> None:
    assert joining.judge_adhoc(BOB, frozenset({ALICE, BOB})) is None
    assert joining.judge_adhoc(DAVE, frozenset({ALICE, BOB})) == forbidden("CNF-15", "Not invited to this session")


@pytest.mark.requirement("CNF-17", "CNF-19")
@pytest.mark.parametrize(
    ("group", "limit", "expected"),
    [
        (Group("sip:g@h", members=FRIENDS.members, invite_members=True), 10, [BOB, CAROL]),
        (Group("sip:g@h", members=FRIENDS.members, invite_members=True), 2, [BOB]),
        (Group("sip:g@h", members=FRIENDS.members, invite_members=True), 1, []),
        (Group("sip:g@h", members=FRIENDS.members), 10, []),
    ],
)
def test_whom_a_group_invites(group: Group, limit: int, expected: list[str]) -> None:
    assert [one.uri for one in joining.members_to_invite(group, ALICE, limit, rights)] == expected
    assert joining.kind_of(group) is SessionKind.PREDEFINED and group.kind is GroupKind.PREDEFINED


@pytest.mark.requirement("CNF-16")
def test_limit_of_a_group() -> None:
    assert joining.limit_of(FRIENDS, 100) == 100
    assert joining.limit_of(Group("sip:g@h", max_participants=7), 100) == 7


@pytest.mark.requirement("CNF-03", "CNF-34", "HDR-03", "IDN-04")
def test_identities() -> None:
    """Unguessable, found in either form of its address, and the Contact of the focus."""
    users = {new_session_user() for _ in range(100)}
    assert len(users) == 100
    user = users.pop()
    address = SessionAddress(user, "192.0.2.1:5060", DOMAIN)
    assert address.uris == (f"sip:{user}@192.0.2.1:5060", f"sip:{user}@example.com")
    assert [session_user(uri) for uri in address.uris] == [user, user]
    assert session_user(ALICE) == session_user("tel:+1234") == ""
    assert address.contact == f"<sip:{user}@192.0.2.1:5060>;isfocus;+g.oma.sip-im"
    assert len({anonymous_uri() for _ in range(100)}) == 100


def test_warnings_are_quoted() -> None:
    (found,) = not_acceptable('a "b" \\ c\n').headers("h")
    assert found == ("Warning", "399 h \"a 'b'  c \"")
