"""What a user may do in a group (CNF-14, CNF-15, IDN-06, XDM-02)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.group import MOST_MEMBERS, Group, GroupKind, Member, parse_group
from msrp_worker.group_rules import NOTHING, GroupRights, rights

ALICE, BOB, EVE = "sip:alice@example.com", "sip:bob@example.com", "sip:eve@example.org"
ACTIONS = {
    "join-handling": "join",
    "allow-initiate-conference": "initiate",
    "allow-invite-users-dynamically": "invite_dynamically",
    "allow-conference-state": "conference_state",
    "allow-anonymity": "anonymity",
    "allow-expelling": "expel",
}
FRIENDS = "http://xcap/friends"


def group(*rules: tuple[str, dict[str, object]], inside: str = "") -> Group:
    """Members alice and bob; each rule: conditions, and values of actions."""
    text = "".join(
        f'<cr:rule id="r{number}"><cr:conditions>{conditions}</cr:conditions><cr:actions>'
        + "".join(
            f"<{name}>{value}</{name}>".replace("True", "true").replace("False", "false") for name, value in of.items()
        )
        + "</cr:actions></cr:rule>"
        for number, (conditions, of) in enumerate(rules)
    )
    ruleset = f"<cr:ruleset>{text}</cr:ruleset>" if rules else ""
    return parse_group(
        '<group xmlns="urn:oma:xml:poc:list-service" xmlns:cr="urn:ietf:params:xml:ns:common-policy" '
        'xmlns:ocp="urn:oma:xml:xdm:common-policy"><list-service uri="sip:g@example.com">'
        f'<list><entry uri="{ALICE}"/><entry uri="{BOB}"/>{inside}</list>{ruleset}</list-service></group>'.encode()
    )


def one(address: str) -> str:
    return f'<cr:identity><cr:one id="{address}"/></cr:identity>'


LISTS = {FRIENDS: (Member(EVE, "Eve"), Member(ALICE, "another name"))}


JOIN: dict[str, object] = {"join-handling": True}
MEMBERS = "<is-list-member/>"


@pytest.mark.requirement("CNF-14", "CNF-15", "IDN-06", "XDM-02")
@pytest.mark.parametrize(("action", "right"), ACTIONS.items())
@pytest.mark.parametrize("value", [True, False])
def test_each_action_gives_its_right_and_no_other(action: str, right: str, value: bool) -> None:
    found = rights(group((one(EVE), {action: value})), EVE)
    assert found == (GroupRights(**{right: True}) if value else NOTHING)


@pytest.mark.requirement("CNF-15")
@pytest.mark.parametrize(
    ("conditions", "joining"),
    [
        ("", {ALICE, BOB, EVE, None}),
        (MEMBERS, {ALICE, BOB}),
        ("<is-list-member>false</is-list-member>", {EVE, None}),
        ("<cr:identity><cr:many/></cr:identity>", {ALICE, BOB, EVE}),
        ('<cr:identity><cr:many domain="example.org"/></cr:identity>', {EVE}),
        ('<cr:identity><cr:many><cr:except domain="example.org"/></cr:many></cr:identity>', {ALICE, BOB}),
        (f'<cr:identity><cr:many><cr:except id="{BOB}"/></cr:many></cr:identity>', {ALICE, EVE}),
        (one("SIP:alice@EXAMPLE.com;x=y"), {ALICE}),
        (one(EVE) + MEMBERS, set()),
        (one(ALICE) + MEMBERS, {ALICE}),
        (MEMBERS + "<is-list-member>false</is-list-member>", set()),
        ("<ocp:anonymous-request/>", {None}),
        ("<ocp:other-identity/>", {ALICE, BOB, EVE}),
        (f'<ocp:external-list><ocp:entry anc="{FRIENDS}"/></ocp:external-list>', {ALICE, EVE}),
        ('<ocp:external-list><ocp:entry anc="http://xcap/foes"/></ocp:external-list>', set()),
        (
            "<cr:sphere value='work'/><cr:validity><cr:from>2000-01-01T00:00:00Z</cr:from></cr:validity>",
            {ALICE, BOB, EVE, None},
        ),
        ("<cr:identity/>", set()),
        ("<media-rarely-known/>", set()),
    ],
)
def test_who_may_join(conditions: str, joining: set[str | None]) -> None:
    found = group((conditions, JOIN)).with_lists(LISTS)
    assert {user for user in (ALICE, BOB, EVE, None) if rights(found, user).join} == joining


@pytest.mark.requirement("CNF-15")
def test_other_identity_means_those_whom_no_rule_names() -> None:
    found = group((MEMBERS, {"join-handling": False}), ("<ocp:other-identity/>", JOIN))
    assert not rights(found, ALICE).join
    assert rights(found, EVE).join


@pytest.mark.requirement("CNF-14", "CNF-15")
def test_permissions_of_several_rules_add_up() -> None:
    found = group(
        (MEMBERS, {"join-handling": True, "allow-initiate-conference": False}),
        (one(ALICE), {"join-handling": False, "allow-initiate-conference": True, "allow-expelling": True}),
    )
    assert rights(found, ALICE) == GroupRights(join=True, initiate=True, expel=True)
    assert rights(found, BOB) == GroupRights(join=True)


@pytest.mark.requirement("CNF-14", "CNF-15", "IDN-06")
def test_without_rules_members_may_what_a_group_is_for() -> None:
    found = group()
    assert rights(found, ALICE) == GroupRights(join=True, initiate=True, invite_dynamically=True, conference_state=True)
    assert rights(found, ALICE).send
    assert rights(found, EVE) == NOTHING
    assert rights(found, None) == NOTHING


@pytest.mark.requirement("CNF-14", "CNF-19")
@pytest.mark.parametrize(
    ("rules", "beginning"),
    [
        ([("", JOIN)], {ALICE, EVE}),
        ([(f'<cr:identity><cr:many><cr:except id="{EVE}"/></cr:many></cr:identity>', JOIN)], {ALICE}),
        ([("", {"join-handling": True, "allow-initiate-conference": False})], set()),
        ([("", JOIN), (one(ALICE), {"allow-initiate-conference": True})], {ALICE}),
        ([(MEMBERS, JOIN)], set()),
    ],
)
def test_who_begins_the_session_of_a_public_group(rules: list[tuple[str, dict[str, object]]], beginning: set[str]) -> None:
    """A room is always there: who may join may begin it, unless the rules say who does."""
    assert {user for user in (ALICE, EVE) if rights(group(*rules), user).initiate} == beginning


@pytest.mark.requirement("XDM-04")
def test_an_external_list_makes_members() -> None:
    document = group((MEMBERS, JOIN), inside=f'<external anchor="{FRIENDS}"/>')
    assert document.external_lists == (FRIENDS,)
    assert not rights(document, EVE).join, "nobody knows the list"
    found = document.with_lists(LISTS)
    assert found.members == (Member(ALICE), Member(BOB), Member(EVE, "Eve")), "the group's own entries come first"
    assert rights(found, EVE).join
    assert not rights(document.with_lists({}), EVE).join


@pytest.mark.requirement("XDM-04")
def test_lists_make_no_group_larger_than_a_document_does() -> None:
    many = [Member(f"sip:u{number}@example.com") for number in range(MOST_MEMBERS)]
    found = group((MEMBERS, JOIN), inside=f'<external anchor="{FRIENDS}"/>').with_lists({FRIENDS: many})
    assert len(found.members) == MOST_MEMBERS
    assert [rights(found, user).join for user in (ALICE, many[0].uri, many[-1].uri)] == [True, True, False]


@pytest.mark.requirement("XDM-04")
def test_who_is_on_a_list_that_a_rule_names_is_no_member_by_it() -> None:
    condition = f'<ocp:external-list><ocp:entry anc="{FRIENDS}"/></ocp:external-list>'
    found = group((condition, {"allow-expelling": True}), (MEMBERS, JOIN)).with_lists(LISTS)
    assert rights(found, EVE) == GroupRights(expel=True)
    assert rights(found, ALICE) == GroupRights(join=True, expel=True)


USERS = st.sampled_from([ALICE, BOB, EVE, None])
RULES = st.lists(
    st.tuples(
        st.sampled_from(
            ["", MEMBERS, one(ALICE), one(EVE), "<ocp:anonymous-request/>", "<cr:identity><cr:many/></cr:identity>"]
        ),
        st.dictionaries(st.sampled_from(sorted(ACTIONS)), st.booleans()),
    ),
    min_size=1,
    max_size=5,
)


@given(RULES, USERS)
def test_the_order_of_rules_says_nothing_and_one_more_takes_nothing_away(
    rules: list[tuple[str, dict[str, object]]], user: str | None
) -> None:
    found = rights(group(*rules), user)
    assert rights(group(*reversed(rules)), user) == found
    fewer = rights(group(*rules[:-1]), user) if len(rules) > 1 else NOTHING
    implied = (
        {"initiate"} if group(*rules).kind is GroupKind.PUBLIC else set()
    )  # a rule that speaks of it ends the implication
    for right in set(ACTIONS.values()) - implied:
        assert getattr(found, right) or not getattr(fewer, right)
