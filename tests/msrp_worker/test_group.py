"""The group document: what is read, what is refused (XDM-02), and the kind of group it is (CNF-19)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.group import LARGEST_DOCUMENT, MOST_MEMBERS, Group, GroupError, GroupKind, Member, parse_group

WHOLE = """<?xml version="1.0" encoding="UTF-8"?>
<group xmlns="urn:oma:xml:poc:list-service" xmlns:rl="urn:ietf:params:xml:ns:resource-lists"
       xmlns:cr="urn:ietf:params:xml:ns:common-policy" xmlns:oxe="urn:oma:xml:xdm:extensions">
  <list-service uri="SIP:Friends@EXAMPLE.com">
    <display-name xml:lang="en">Good
      friends</display-name>
    <list>
      <entry uri="sip:alice@example.com"><rl:display-name>Alice &amp; co</rl:display-name></entry>
      <entry uri="tel:+1-201-555-0123"/>
      <external anchor="http://xcap.example.com/lists/more"/>
      <oxe:hint>extensions are ignored</oxe:hint>
    </list>
    <oxe:supported-services><oxe:service enabler="urn:oma:im"/></oxe:supported-services>
    <invite-members>true</invite-members>
    <max-participant-count>20</max-participant-count>
    <cr:ruleset>
      <cr:rule id="a">
        <cr:conditions><is-list-member/></cr:conditions>
        <cr:actions><join-handling>true</join-handling><allow-anonymity>0</allow-anonymity></cr:actions>
        <cr:transformations/>
      </cr:rule>
    </cr:ruleset>
    <oxe:more/>
  </list-service>
</group>
"""


def service(inside: str, uri: str = "sip:g@example.com") -> bytes:
    return (
        '<group xmlns="urn:oma:xml:poc:list-service" xmlns:rl="urn:ietf:params:xml:ns:resource-lists" '
        'xmlns:cr="urn:ietf:params:xml:ns:common-policy" xmlns:ocp="urn:oma:xml:xdm:common-policy">'
        f'<list-service uri="{uri}">{inside}</list-service></group>'
    ).encode()


def rule(actions: str, conditions: str = "") -> str:
    return (
        f'<cr:ruleset><cr:rule id="r"><cr:conditions>{conditions}</cr:conditions>'
        f"<cr:actions>{actions}</cr:actions></cr:rule></cr:ruleset>"
    )


@pytest.mark.requirement("XDM-02")
def test_every_element_is_read() -> None:
    group = parse_group(WHOLE.encode())
    assert group.uri == "sip:Friends@example.com"
    assert group.display_name == "Good friends"
    assert group.members == (Member("sip:alice@example.com", "Alice & co"), Member("tel:+12015550123"))
    assert group.external_members == ("http://xcap.example.com/lists/more",)
    assert group.services == ("urn:oma:im",)
    assert group.invite_members
    assert group.max_participants == 20
    assert group.rules is not None
    assert group.rules[0].actions == {"join-handling": True, "allow-anonymity": False}
    assert group.rules[0].conditions.list_member is True
    assert group.member("tel:+12015550123") == Member("tel:+12015550123")
    assert group.member("sip:bob@example.com") is None


@pytest.mark.requirement("XDM-02")
@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (service(""), Group("sip:g@example.com")),
        (service("<list/>"), Group("sip:g@example.com")),
        (service("<cr:ruleset/>"), Group("sip:g@example.com")),
        (service("<invite-members> 1 </invite-members>"), Group("sip:g@example.com", invite_members=True)),
        (
            service("<max-participant-count>1</max-participant-count><list/>"),
            Group("sip:g@example.com", max_participants=1),
        ),
        # The list in the namespace of RFC 4826, as some servers keep it.
        (
            service('<rl:list><rl:display-name>L</rl:display-name><rl:entry uri="sip:a@x"/></rl:list>'),
            Group("sip:g@example.com", members=(Member("sip:a@x"),)),
        ),
        # Older: the service without group around it, the namespace of the drafts.
        (b'<list-service xmlns="urn:oma:xml:poc:list-service" uri="sip:g@x"/>', Group("sip:g@x")),
        (
            b'<group xmlns="urn:oma:params:xml:ns:list-service"><list-service uri="sip:g@x"/></group>',
            Group("sip:g@x"),
        ),
    ],
)
def test_what_may_be_left_out_and_older_forms(document: bytes, expected: Group) -> None:
    assert parse_group(document) == expected


@pytest.mark.requirement("XDM-02")
@pytest.mark.parametrize(
    ("word", "allowed"),
    [("true", True), ("1", True), ("allow", True), ("ALLOW", True)]
    + [(word, False) for word in ("false", "0", "block", "reject", "confirm")],
)
def test_actions_as_booleans_and_as_words(word: str, allowed: bool) -> None:
    group = parse_group(service(rule(f"<join-handling>{word}</join-handling>")))
    assert group.rules is not None
    assert group.rules[0].actions == {"join-handling": allowed}


@pytest.mark.requirement("XDM-02", "SEC-05")
@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"", "not well-formed"),
        (b"<group", "not well-formed"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a/>', "document type"),
        (b"<group/>", "root is group, not group of urn:oma:xml:poc:list-service"),
        (b'<group xmlns="urn:x"/>', "root is {urn:x}group"),
        (b'<group xmlns="urn:oma:xml:poc:list-service"/>', "line 1, group: holds exactly one list-service"),
        (service('</list-service><list-service uri="sip:b@x">'), "exactly one list-service"),
        (service("", uri=""), "list-service: without uri"),
        (service("", uri="mailto:a@b"), "not a sip, sips or tel URI"),
        (service("", uri="sips:a@b"), "the address of a group is sip:name@domain"),
        (service("", uri="tel:+1"), "the address of a group is sip:name@domain"),
        (service("", uri="sip:example.com"), "the address of a group is sip:name@domain"),
        (service("", uri="sip:g@x;user=phone"), "the address of a group is sip:name@domain"),
        (service("\n<invite-member>true</invite-member>"), "line 2, invite-member: is not an element of a group"),
        (service("<list/><list/>"), "list: stands twice"),
        (service("<invite-members>yes</invite-members>"), "invite-members: 'yes' is neither true nor false"),
        (service("<invite-members/>"), "invite-members: '' is neither"),
        *(
            (service(f"<max-participant-count>{text}</max-participant-count>"), "max-participant-count: ")
            for text in ("", "0", "-1", "many", "1.5", "1000001", "9" * 5000, "\u0661")
        ),
        (service("<list><entry/></list>"), "entry: without uri"),
        (service('<list><entry uri="bob"/></list>'), "entry: not an address: 'bob'"),
        (service('<list><entry uri="http://x/"/></list>'), "entry: not a sip, sips or tel URI"),
        (
            service('<list>\n<entry uri="sip:a@x"/>\n<entry uri="SIP:a@X"/></list>'),
            "line 3, entry: sip:a@x is a member twice",
        ),
        (service("<list><list/></list>"), "list: has no place"),
        (service('<list><entry-ref ref="x"/></list>'), "entry-ref: has no place"),
        (service("<list><external/></list>"), "external: without anchor"),
        (service("<display-name>" + "x" * 256 + "</display-name>"), "display-name: 256 characters"),
        (service("<cr:ruleset><cr:rule/></cr:ruleset>"), "ruleset: a rule without id"),
        (service('<cr:ruleset><cr:rule id="a"/><cr:rule id="a"/></cr:ruleset>'), "two rules have the id 'a'"),
        (service(rule("<join-handling>maybe</join-handling>")), "ruleset: rule r: join-handling is 'maybe'"),
        (service(rule("", "<is-list-member>yes</is-list-member>")), "rule r: is-list-member is 'yes'"),
        (service(" " * LARGEST_DOCUMENT), "at most"),
        (service("<x:a xmlns:x='urn:x'>" * 20 + "</x:a>" * 20), "nested deeper"),
        (
            service("<list>" + "".join(f'<entry uri="sip:{n}@x"/>' for n in range(MOST_MEMBERS + 1)) + "</list>"),
            "list: more than 5000 members",
        ),
    ],
)
def test_what_is_no_group_says_where(document: bytes, says: str) -> None:
    with pytest.raises(GroupError) as caught:
        parse_group(document)
    assert says in str(caught.value)


JOIN = "<join-handling>true</join-handling>"
ALL = "<cr:identity><cr:many/></cr:identity>"


@pytest.mark.requirement("CNF-19")
@pytest.mark.parametrize(
    ("inside", "kind"),
    [
        (rule(JOIN), GroupKind.PUBLIC),
        (rule(JOIN, ALL), GroupKind.PUBLIC),
        (rule(JOIN, '<cr:identity><cr:many><cr:except id="sip:a@x"/></cr:many></cr:identity>'), GroupKind.PUBLIC),
        ('<list><entry uri="sip:a@x"/></list>' + rule(JOIN), GroupKind.PUBLIC),
        ("<invite-members>true</invite-members>" + rule(JOIN), GroupKind.PREDEFINED),
        (rule("<join-handling>false</join-handling>"), GroupKind.PREDEFINED),
        (rule("<allow-conference-state>true</allow-conference-state>"), GroupKind.PREDEFINED),
        (rule(JOIN, '<cr:identity><cr:many domain="x"/></cr:identity>'), GroupKind.PREDEFINED),
        (rule(JOIN, '<cr:identity><cr:one id="sip:a@x"/></cr:identity>'), GroupKind.PREDEFINED),
        (rule(JOIN, "<is-list-member/>"), GroupKind.PREDEFINED),
        (rule(JOIN, "<ocp:other-identity/>"), GroupKind.PREDEFINED),
        (rule(JOIN, "<ocp:anonymous-request/>"), GroupKind.PREDEFINED),
        (rule(JOIN, "<ocp:external-list/>"), GroupKind.PREDEFINED),
        (rule(JOIN, "<media-rarely-known/>"), GroupKind.PREDEFINED),
        ("", GroupKind.PREDEFINED),
    ],
)
def test_a_public_group_is_open_and_invites_nobody(inside: str, kind: GroupKind) -> None:
    assert parse_group(service(inside)).kind is kind


@given(st.binary(max_size=200), st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)))
def test_anything_is_a_group_or_an_error(noise: bytes, start: int, end: int) -> None:
    whole = WHOLE.encode()
    try:
        parse_group(whole[: min(start, end)] + noise + whole[max(start, end) :])
    except GroupError as error:
        assert str(error)
