"""IM rules: evaluation after RFC 4745, and documents that try to do harm (XDM-03, SEC-05)."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.common_policy import (
    DEEPEST_ELEMENT,
    LARGEST_DOCUMENT,
    MOST_RULES,
    REJECT_EVERYONE,
    Action,
    Decision,
    Rules,
    RulesError,
    parse_rules,
)
from msrp_worker.ruleset import MOST_LISTS

pytestmark = pytest.mark.requirement("XDM-03")

ALICE, BOB, CAROL = "sip:alice@example.com", "sip:bob@example.com", "sip:carol@example.net"
TEL = "tel:+12125551234"
ANONYMOUS = None
NAMESPACES = (
    'xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:im="urn:oma:xml:im:im-rules" '
    'xmlns:ocp="urn:oma:xml:xdm:common-policy" xmlns:x="urn:example:x"'
)
ALLOW = "<im:allow-pager-mode-message>allow</im:allow-pager-mode-message>"
REJECT = "<im:allow-pager-mode-message>reject</im:allow-pager-mode-message>"


def rule(conditions: str, actions: str, name: str = "r") -> str:
    return f'<rule id="{name}"><conditions>{conditions}</conditions><actions>{actions}</actions></rule>'


def rules(*texts: str) -> Rules:
    return parse_rules(f"<ruleset {NAMESPACES}>{''.join(texts)}</ruleset>".encode())


def identity(content: str) -> str:
    return f"<identity>{content}</identity>"


CONDITIONS = [
    # conditions, who matches, who does not
    ("", [ALICE, TEL, ANONYMOUS], []),
    (identity(f'<one id="{ALICE}"/>'), [ALICE], [BOB, ANONYMOUS]),
    (identity('<one id="SIP:%61lice@EXAMPLE.com"/>'), [ALICE], [BOB]),
    (identity('<one id="tel:+1-212-555-1234"/>'), [TEL], [ALICE]),
    (identity('<one id="mailto:alice@example.com"/>'), [], [ALICE]),
    (identity(f'<one id="{ALICE}"/><one id="{BOB}"/>'), [ALICE, BOB], [CAROL]),
    (identity("<many/>"), [ALICE, CAROL, TEL], [ANONYMOUS]),
    (identity('<many domain="Example.COM"/>'), [ALICE, BOB], [CAROL, TEL, ANONYMOUS]),
    (identity(f'<many domain="example.com"><except id="{ALICE}"/></many>'), [BOB], [ALICE, CAROL]),
    (
        identity(f'<many><except domain="example.com"/><except id="{TEL}"/></many>'),
        [CAROL],
        [ALICE, TEL, ANONYMOUS],
    ),
    (identity(""), [], [ALICE, ANONYMOUS]),
    (identity("<x:everybody/>"), [], [ALICE]),
    ("<ocp:anonymous-request/>", [ANONYMOUS], [ALICE]),
    ("<anonymous-request/>", [ANONYMOUS], [ALICE]),
    ("<ocp:anonymous-request/>" + identity("<many/>"), [], [ALICE, ANONYMOUS]),
    ("<ocp:other-identity/>", [ALICE], [ANONYMOUS]),
    ('<sphere value="work"/>', [ALICE], []),
    (
        "<validity><from>2000-01-01T00:00:00Z</from><until>2000-01-02T00:00:00Z</until></validity>",
        [ALICE],
        [],
    ),
    ("<x:moon-phase>full</x:moon-phase>", [], [ALICE, ANONYMOUS]),
    ('<ocp:external-list><ocp:entry anc="sip:list"/></ocp:external-list>', [], [ALICE, ANONYMOUS]),
]


@pytest.mark.parametrize(("conditions", "matching", "others"), CONDITIONS)
def test_conditions(conditions: str, matching: list[str | None], others: list[str | None]) -> None:
    document = rules(rule(conditions, REJECT))
    for originator in matching:
        assert document.decide(Action.PAGER_MODE_MESSAGE, originator) is Decision.REJECT
    for originator in others:
        assert document.decide(Action.PAGER_MODE_MESSAGE, originator) is Decision.ALLOW


@pytest.mark.requirement("XDM-04")
def test_an_external_list_is_looked_up() -> None:
    document = rules(
        rule(
            '<ocp:external-list><ocp:entry anc="urn:one"/><ocp:entry anc="urn:two"/></ocp:external-list>',
            REJECT,
        )
    )
    assert document.external_lists == ("urn:one", "urn:two")
    assert document.decide(Action.PAGER_MODE_MESSAGE, ALICE) is Decision.ALLOW, "nobody knows the lists"
    known = msgspec.structs.replace(document, lists={"urn:two": frozenset({ALICE}), "urn:three": frozenset({BOB})})
    assert known.decide(Action.PAGER_MODE_MESSAGE, ALICE) is Decision.REJECT
    assert known.decide(Action.PAGER_MODE_MESSAGE, BOB) is Decision.ALLOW
    assert known.decide(Action.PAGER_MODE_MESSAGE, ANONYMOUS) is Decision.ALLOW


def test_rules_refer_to_a_bounded_number_of_lists() -> None:
    def entries(count: int) -> str:
        return "".join(f'<ocp:entry anc="urn:{number}"/>' for number in range(count))

    def document(count: int) -> Rules:
        return rules(rule(f"<ocp:external-list>{entries(count)}</ocp:external-list>", REJECT))

    assert len(document(MOST_LISTS).external_lists) == MOST_LISTS
    with pytest.raises(RulesError, match=f"{MOST_LISTS + 1} external lists, at most {MOST_LISTS}"):
        document(MOST_LISTS + 1)


def test_the_permissive_value_wins() -> None:
    one, everyone = rule(identity(f'<one id="{BOB}"/>'), ALLOW, "a"), rule("", REJECT, "b")
    for document in (rules(one, everyone), rules(everyone, one)):
        assert document.decide(Action.PAGER_MODE_MESSAGE, BOB) is Decision.ALLOW
        assert document.decide(Action.PAGER_MODE_MESSAGE, ALICE) is Decision.REJECT


def test_other_identity_means_those_that_no_rule_names() -> None:
    document = rules(
        rule("<ocp:other-identity/>", REJECT, "rest"),
        rule(identity(f'<one id="{BOB}"/>'), ALLOW, "bob"),
        rule(identity(f'<one id="{CAROL}"/>'), "", "carol"),
        rule("<ocp:anonymous-request/>", ALLOW, "nobody"),
    )
    expected = {BOB: Decision.ALLOW, CAROL: Decision.ALLOW, ALICE: Decision.REJECT, ANONYMOUS: Decision.ALLOW}
    for originator, decision in expected.items():
        assert document.decide(Action.PAGER_MODE_MESSAGE, originator) is decision


def test_actions_are_independent_and_silence_allows() -> None:
    document = rules(rule("", "<im:allow-session>false</im:allow-session>"))
    assert document.decide(Action.SESSION, ALICE) is Decision.REJECT
    assert document.decide(Action.PAGER_MODE_MESSAGE, ALICE) is Decision.ALLOW
    assert rules().decide(Action.SESSION, ALICE) is Decision.ALLOW
    assert REJECT_EVERYONE.decide(Action.PAGER_MODE_MESSAGE, ANONYMOUS) is Decision.REJECT


@pytest.mark.parametrize(
    ("word", "decision"),
    [
        ("allow", Decision.ALLOW),
        (" Allow\n", Decision.ALLOW),
        ("true", Decision.ALLOW),
        ("1", Decision.ALLOW),
        ("reject", Decision.REJECT),
        ("false", Decision.REJECT),
        ("0", Decision.REJECT),
    ],
)
@pytest.mark.parametrize("prefix", ["im:", "x:", ""])
def test_words_and_namespaces_of_actions(prefix: str, word: str, decision: Decision) -> None:
    name = f"{prefix}allow-pager-mode-message"
    document = rules(rule("", f"<x:unknown>maybe</x:unknown><{name}>{word}</{name}>"))
    assert document.decide(Action.PAGER_MODE_MESSAGE, ALICE) is decision


def test_a_rule_may_lack_its_parts() -> None:
    assert rules('<rule id="empty"/>').decide(Action.SESSION, ALICE) is Decision.ALLOW


BILLION_LAUGHS = b"""<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">]>
<ruleset xmlns="urn:ietf:params:xml:ns:common-policy"><rule id="&d;"/>&d;</ruleset>"""
EXTERNAL_ENTITY = b"""<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<ruleset xmlns="urn:ietf:params:xml:ns:common-policy">&x;</ruleset>"""
EXTERNAL_DTD = b"""<!DOCTYPE ruleset SYSTEM "http://127.0.0.1:1/x.dtd">
<ruleset xmlns="urn:ietf:params:xml:ns:common-policy"/>"""
ROOT = b'<ruleset xmlns="urn:ietf:params:xml:ns:common-policy">'


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "not well-formed"),
        (b"\0\xff", "not well-formed"),
        (b"<ruleset", "not well-formed"),
        (ROOT + b"</wrong>", "not well-formed"),
        (ROOT + b"<rule id='\xff'/></ruleset>", "not well-formed"),
        (b"<ruleset/>", "the root is ruleset"),
        (b"<html/>", "the root is html"),
        (BILLION_LAUGHS, "document type"),
        (EXTERNAL_ENTITY, "document type"),
        (EXTERNAL_DTD, "document type"),
        (ROOT + b"<!--" + b"x" * LARGEST_DOCUMENT + b"--></ruleset>", "at most"),
        (ROOT + b"<a>" * DEEPEST_ELEMENT + b"</a>" * DEEPEST_ELEMENT + b"</ruleset>", "nested deeper"),
        (ROOT + b"<a>" * 50_000, r"nested deeper|Excessive depth"),
        (ROOT + b'<rule id="x"/>' * (MOST_RULES + 1) + b"</ruleset>", "rules, at most"),
        (ROOT + b"<rule/></ruleset>", "without id"),
        (
            ROOT + b'<rule id="a"><conditions><identity><one/></identity></conditions></rule></ruleset>',
            "without id",
        ),
        (
            ROOT + b'<rule id="a"><actions><allow-session>maybe</allow-session></actions></rule></ruleset>',
            "maybe",
        ),
        (
            ROOT + b'<rule id="a"><actions><allow-session/></actions></rule></ruleset>',
            "expected allow or reject",
        ),
    ],
)
def test_what_is_no_document_of_rules_is_refused(document: bytes, reason: str) -> None:
    begin = time.process_time()
    with pytest.raises(RulesError, match=reason):
        parse_rules(document)
    assert time.process_time() - begin < 5  # no bomb went off; not a measure of speed


def test_as_deep_as_permitted_is_read() -> None:
    depth = DEEPEST_ELEMENT - 1
    assert parse_rules(ROOT + b"<a>" * depth + b"</a>" * depth + b"</ruleset>") == Rules()


def test_other_encodings_comments_and_instructions_are_read() -> None:
    text = f"<?x y?><ruleset {NAMESPACES}><!-- c -->{rule('<!-- c -->', '<?x y?>' + REJECT)}</ruleset>"
    for encoding in ("utf-8", "utf-16"):
        document = parse_rules(text.encode(encoding))
        assert document.decide(Action.PAGER_MODE_MESSAGE, ALICE) is Decision.REJECT


@pytest.mark.requirement("SEC-05")
@given(st.one_of(st.binary(), st.binary().map(lambda garbage: ROOT + garbage + b"</ruleset>")))
def test_any_bytes_are_rules_or_a_rules_error(document: bytes) -> None:
    try:
        parse_rules(document)
    except RulesError:
        pass


@pytest.mark.requirement("SEC-05")
def test_a_document_cut_anywhere_is_refused() -> None:
    condition = identity('<one id="sip:a@b.example"/>')
    text = f"<ruleset {NAMESPACES}>{rule(condition, REJECT)}</ruleset>".encode()
    for end in range(len(text)):
        with pytest.raises(RulesError):
            parse_rules(text[:end])
