"""References to lists, and what lists come to (XDM-04; RFC 4826 section 3.1, RFC 4825 section 6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.group import MOST_MEMBERS, Member
from msrp_worker.list_references import (
    DEEPEST_REFERENCE,
    LONGEST_REFERENCE,
    MOST_DOCUMENTS,
    DocumentKey,
    Outcome,
    Reference,
    Step,
    UnusableReferenceError,
    XcapRoots,
    anchor_of,
    members_of,
)
from msrp_worker.resource_lists import ResourceLists, parse_lists

pytestmark = pytest.mark.requirement("XDM-04")

ROOT = "http://example.com:8080/xcap"
ROOTS = XcapRoots("example.com", (ROOT, "https://xcap.example.com"))
ALICE, BOB, CAROL = "sip:alice@example.com", "sip:bob@example.com", "sip:carol@example.com"
KEY = DocumentKey(ALICE, "index")
LISTS = f"resource-lists/users/{ALICE}/index/~~/resource-lists"
FRIENDS = f"{ROOT}/{LISTS}/list%5b@name=%22friends%22%5d"
Documents = dict[DocumentKey, ResourceLists | None]


def lists(inside: str) -> ResourceLists:
    return parse_lists(f'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">{inside}</resource-lists>'.encode())


def named(name: str, inside: str) -> str:
    return f'<list name="{name}">{inside}</list>'


def entry(address: str, name: str = "") -> str:
    return f'<entry uri="{address}">' + (f"<display-name>{name}</display-name>" if name else "") + "</entry>"


def external(anchor: str) -> str:
    return f'<external anchor="{anchor}"/>'


@pytest.mark.parametrize(
    ("uri", "steps"),
    [
        (FRIENDS, (Step("list", value="friends"),)),
        (f"HTTP://EXAMPLE.com:8080/xcap/{LISTS}/list%5B@name='friends'%5D", (Step("list", value="friends"),)),
        (f"https://xcap.example.com:443/{LISTS}/list", (Step("list"),)),
        (f"{ROOT}/{LISTS}/list%5b2%5d", (Step("list", 2),)),
        (f"{ROOT}/{LISTS}/list[2][@name='a']", (Step("list", 2, "a"),)),
        (f"{ROOT}/{LISTS}/rl:list/rl:list?xmlns(rl=urn:ietf:params:xml:ns:resource-lists)", (Step("list"), Step("list"))),
        (
            f"{ROOT}/{LISTS}/list[@name='a%2fb']/list[@name='&lt;&quot;c']",
            (Step("list", value="a/b"), Step("list", value='<"c')),
        ),
        (f"/{LISTS}/list", (Step("list"),)),
        (f"{LISTS}/list", (Step("list"),)),
        (f"{ROOT}/resource-lists/users/sip%3Aalice%40EXAMPLE.com/index/~~/resource-lists/list", (Step("list"),)),
        (f"{ROOT}/resource-lists/users/alice/index/%7e~/resource-lists/list", (Step("list"),)),
    ],
)
def test_what_an_anchor_names(uri: str, steps: tuple[Step, ...]) -> None:
    assert ROOTS.read(uri) == Reference(KEY, steps)


def test_an_entry_and_a_document_in_a_directory() -> None:
    found = ROOTS.read(f"{LISTS.replace('index', 'work/index')}/list/entry[@uri='{BOB}']", relative=True)
    assert found == Reference(DocumentKey(ALICE, "work/index"), (Step("list"), Step("entry", value=BOB)))


@pytest.mark.parametrize(
    ("uri", "relative", "says"),
    [
        (f"http://elsewhere.example/xcap/{LISTS}/list", False, "not on this server"),
        (f"https://example.com:8080/xcap/{LISTS}/list", False, "not on this server"),
        (f"//example.com:8080/xcap/{LISTS}/list", False, "not on this server"),
        (f"http://example.com:8080/other/{LISTS}/list", False, "not on this server"),
        (f"http://example.com:99999/xcap/{LISTS}/list", False, "ort"),
        ("http://[::1/list", False, "Invalid IPv6"),
        (f"{ROOT}/resource-lists/users/{ALICE}/index", False, "a document, not a list"),
        (f"{ROOT}/org.openmobilealliance.groups/users/{ALICE}/index/~~/group/list", False, "it is none of"),
        (f"{ROOT}/resource-lists/global/index/~~/resource-lists/list", False, "it is none of"),
        (f"{ROOT}/resource-lists/users//index/~~/resource-lists/list", False, "it is none of"),
        (f"{ROOT}/resource-lists/users/a b/index/~~/resource-lists/list", False, "not a user"),
        (f"{ROOT}/{LISTS}", False, "names no list"),
        (f"{ROOT}/{LISTS}/", False, "not understood"),
        (f"{ROOT}/{LISTS}/*", False, "not understood"),
        (f"{ROOT}/{LISTS}/list[@id='a']", False, "not understood"),
        (f"{ROOT}/{LISTS}/list[@uri='a']", False, "no list is told by its uri"),
        (f"{ROOT}/{LISTS}/list/@name", False, "not understood"),
        (f"{ROOT}/{LISTS}/entry/list", False, "names no list"),
        (f"{ROOT}/{LISTS}/list/entry", False, "an entry, not a list"),
        (f"{ROOT}/{LISTS}/list/entry", True, "not relative"),
        (f"{LISTS}/list", True, "a list, not an entry"),
        (ROOT + "a" * LONGEST_REFERENCE, False, "characters"),
        ("sip:list@example.com", False, "not on this server"),
        ("", False, "a document, not a list"),
    ],
)
def test_what_is_no_reference_says_why(uri: str, relative: bool, says: str) -> None:
    with pytest.raises(UnusableReferenceError, match=says.replace("(", r"\(")):
        ROOTS.read(uri, relative=relative)


@given(st.text(max_size=40), st.booleans())
def test_any_text_is_a_reference_or_an_error(text: str, relative: bool) -> None:
    for uri in (text, f"{ROOT}/{text}", f"{ROOT}/{LISTS}/{text}", f"{LISTS}/list{text}"):
        try:
            ROOTS.read(uri, relative=relative)
        except UnusableReferenceError as error:
            assert str(error)


@given(st.text(min_size=1, max_size=20).filter(lambda name: name.isprintable()))
def test_the_anchor_of_a_list_leads_to_it(name: str) -> None:
    assert ROOTS.read(anchor_of(ROOT, KEY, name)) == Reference(KEY, (Step("list", value=name),))


def test_members_in_order_each_once_by_the_first_name() -> None:
    inside = entry(BOB, "Bob") + named("inner", entry(CAROL) + entry(BOB, "Bobby")) + entry(ALICE) + entry("mailto:x@y.z")
    found = members_of(FRIENDS, {KEY: lists(named("others", entry("sip:x@y")) + named("friends", inside))}, ROOTS)
    assert found == Outcome((Member(BOB, "Bob"), Member(CAROL), Member(ALICE)))


def test_documents_are_asked_for() -> None:
    assert members_of(FRIENDS, {}, ROOTS) == Outcome(missing=frozenset({KEY}))
    other = DocumentKey(BOB, "index")
    his = anchor_of(ROOT, other, "mine")
    documents: Documents = {KEY: lists(named("friends", external(his) + entry(CAROL)))}
    assert members_of(FRIENDS, documents, ROOTS) == Outcome((Member(CAROL),), frozenset({other}))
    documents[other] = lists(named("mine", entry(BOB)))
    assert members_of(FRIENDS, documents, ROOTS) == Outcome((Member(BOB), Member(CAROL)))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (None, "sip:alice@example.com has no document index"),
        (lists(named("foes", entry(BOB))), "the document of sip:alice@example.com has no such list"),
        (lists("<list/>"), "has no such list"),
    ],
)
def test_a_list_that_is_not_there_has_nobody(document: ResourceLists | None, says: str) -> None:
    found = members_of(FRIENDS, {KEY: document}, ROOTS)
    assert not found.members
    assert len(found.problems) == 1
    assert says in found.problems[0]


def test_a_list_elsewhere_has_nobody_and_the_rest_counts() -> None:
    inside = external("http://elsewhere.example/list") + entry(BOB)
    found = members_of(FRIENDS, {KEY: lists(named("friends", inside))}, ROOTS)
    assert found == Outcome((Member(BOB),), problems=("http://elsewhere.example/list: it is not on this server",))


@pytest.mark.requirement("SEC-05")
def test_what_strangers_write_is_one_printable_line() -> None:
    inside = external("http://x/&#10;2026 all is well&#155;2J")
    (problem,) = members_of(FRIENDS, {KEY: lists(named("friends", inside))}, ROOTS).problems
    assert problem == "http://x/ 2026 all is well 2J: it is not on this server"


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        (f"entry[@uri='{BOB}']", (Member(BOB, "as named here"),)),
        ("entry[2]", (Member(CAROL, "as named here"),)),
        ("entry", ()),
        ("entry[3]", ()),
        ("entry[0]", ()),
        (f"entry[2][@uri='{BOB}']", ()),
    ],
)
def test_an_entry_of_another_document(selector: str, found: tuple[Member, ...]) -> None:
    other = DocumentKey(BOB, "index")
    ref = f"resource-lists/users/{BOB}/index/~~/resource-lists/list/{selector}"
    item = f'<entry-ref ref="{ref}"><display-name>as named here</display-name></entry-ref>'
    documents: Documents = {
        KEY: lists(named("friends", item)),
        other: lists(f"<list>{entry(BOB, 'Bob')}{entry(CAROL)}</list>"),
    }
    outcome = members_of(FRIENDS, documents, ROOTS)
    assert outcome.members == found
    assert bool(outcome.problems) is not bool(found)


def test_a_circle_adds_nothing() -> None:
    other = DocumentKey(BOB, "index")
    his = anchor_of(ROOT, other, "mine")
    documents: Documents = {
        KEY: lists(named("friends", external(FRIENDS) + external(his) + entry(ALICE))),
        other: lists(named("mine", entry(BOB) + external(FRIENDS))),
    }
    assert members_of(FRIENDS, documents, ROOTS) == Outcome((Member(BOB), Member(ALICE)))


def test_references_are_followed_so_far() -> None:
    def chain(length: int) -> Outcome:
        links = [
            named(f"l{at}", entry(f"sip:u{at}@example.com") + external(anchor_of(ROOT, KEY, f"l{at + 1}")))
            for at in range(length)
        ]
        return members_of(anchor_of(ROOT, KEY, "l0"), {KEY: lists("".join(links) + named(f"l{length}", ""))}, ROOTS)

    assert chain(DEEPEST_REFERENCE).problems == ()
    longer = chain(DEEPEST_REFERENCE + 1)
    assert len(longer.members) == DEEPEST_REFERENCE + 1
    assert f"more than {DEEPEST_REFERENCE} references" in longer.problems[0]


def test_a_list_that_is_also_nearer_by_is_followed_from_there() -> None:
    names = [f"l{at}" for at in range(DEEPEST_REFERENCE + 1)]
    anchors = [anchor_of(ROOT, KEY, name) for name in (*names, "last")]
    links = "".join(named(name, external(anchors[at + 1])) for at, name in enumerate(names))
    friends = named("friends", external(anchors[0]) + external(anchors[-2]))
    assert members_of(FRIENDS, {KEY: lists(friends + links + named("last", entry(BOB)))}, ROOTS).members == (Member(BOB),)


def test_documents_are_bounded() -> None:
    others = [DocumentKey(f"sip:u{number}@example.com", "index") for number in range(MOST_DOCUMENTS)]
    inside = "".join(external(anchor_of(ROOT, key, "mine")) for key in others)
    documents: Documents = {KEY: lists(named("friends", inside))}
    asked = members_of(FRIENDS, documents, ROOTS)
    assert len(asked.missing) == MOST_DOCUMENTS - 1
    documents |= {key: lists(named("mine", entry(key.owner))) for key in asked.missing}
    found = members_of(FRIENDS, documents, ROOTS)
    assert (len(found.members), found.missing) == (MOST_DOCUMENTS - 1, frozenset())
    assert f"more than {MOST_DOCUMENTS} documents" in found.problems[0]


def test_addresses_are_bounded() -> None:
    half = ["".join(entry(f"sip:{half}{number}@b.c") for number in range(MOST_MEMBERS // 2 + 1)) for half in "ab"]
    other = DocumentKey(BOB, "index")
    friends = named("friends", half[0] + external(anchor_of(ROOT, other, "mine")))
    documents: Documents = {KEY: lists(friends), other: lists(named("mine", half[1]))}
    found = members_of(FRIENDS, documents, ROOTS)
    assert len(found.members) == MOST_MEMBERS
    assert "left out" in found.problems[0]
