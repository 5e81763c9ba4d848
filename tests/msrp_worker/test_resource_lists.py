"""Resource-lists documents: what is read, and what is refused with line and reason (XDM-04, SEC-05)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.resource_lists import (
    DEEPEST_ELEMENT,
    LARGEST_DOCUMENT,
    LONGEST_NAME,
    MOST_ENTRIES,
    Entry,
    EntryRef,
    External,
    ListsError,
    ResourceList,
    ResourceLists,
    parse_lists,
)

pytestmark = pytest.mark.requirement("XDM-04")

ROOT = '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:x="urn:example:x">'
WHOLE = f"""<?xml version="1.0" encoding="UTF-8"?>
{ROOT}
 <list name="friends">
  <display-name>Friends of mine</display-name>
  <entry uri="SIP:Bill@Example.com;x=y"><display-name xml:lang="en">  Bill
    Doe</display-name><x:phone>1</x:phone></entry>
  <entry-ref ref="resource-lists/users/sip:bill@example.com/index"><display-name>Petri</display-name></entry-ref>
  <list name="close">
   <external anchor="http://xcap.example.org/x"><display-name>Marketing</display-name></external>
  </list>
  <entry uri="mailto:joe@example.com"/>
  <x:colour>red</x:colour>
 </list>
 <list/>
</resource-lists>""".encode()


def document(inside: str) -> bytes:
    return f"{ROOT}\n{inside}</resource-lists>".encode()


def test_a_document_with_everything() -> None:
    found = parse_lists(WHOLE)
    friends = ResourceList(
        "friends",
        (
            Entry("SIP:Bill@Example.com;x=y", "sip:Bill@example.com", "Bill Doe"),
            EntryRef("resource-lists/users/sip:bill@example.com/index", "Petri"),
            ResourceList("close", (External("http://xcap.example.org/x"),)),
            Entry("mailto:joe@example.com", ""),
        ),
    )
    assert found == ResourceLists((friends, ResourceList(None)))
    assert found.count() == 4


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ("<entry uri='sip:a@b'/>", "line 2, entry: has no place beside the lists"),
        ("<list><entry/></list>", "line 2, entry: without uri"),
        ("<list><entry uri='sip:'/></list>", "line 2, entry: "),
        ("<list><entry-ref/></list>", "line 2, entry-ref: without ref"),
        ("<list><external anchor=' '/></list>", "line 2, external: without anchor"),
        ("<list><member/></list>", "line 2, member: has no place in a list"),
        ("<list name='a'/>\n<list name='a'/>", "line 3, list: the name 'a' stands twice"),
        ("<list>\n<entry uri='sip:a@b'/>\n<entry uri='sip:a@b'/></list>", "line 4, entry: the uri 'sip:a@b' stands twice"),
        ("<list><external anchor='u'/><external anchor='u'/></list>", "external: the anchor 'u' stands twice"),
        ("<list><entry-ref ref='u'/><entry-ref ref='u'/></list>", "entry-ref: the ref 'u' stands twice"),
        ("<list>" * DEEPEST_ELEMENT + "</list>" * DEEPEST_ELEMENT, "nested deeper"),
    ],
)
def test_a_mistake_is_named(inside: str, says: str) -> None:
    with pytest.raises(ListsError) as caught:
        parse_lists(document(inside))
    assert says in str(caught.value)


def test_the_same_name_or_address_may_stand_in_different_lists() -> None:
    entry = "<entry uri='sip:a@b'/><entry uri='SIP:a@b'/>"
    found = parse_lists(document(f"<list name='a'>{entry}<list name='a'>{entry}</list></list><list>{entry}</list>"))
    assert found.count() == 6


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no element found"),
        (b"<resource-lists/>", "the root is resource-lists, not resource-lists of urn:ietf"),
        (b"<!DOCTYPE a><a/>", "document type declaration"),
        (b" " * (LARGEST_DOCUMENT + 1), "at most"),
        (WHOLE[:200], "not well-formed"),
    ],
)
@pytest.mark.requirement("SEC-05")
def test_what_is_no_document_of_lists(data: bytes, says: str) -> None:
    with pytest.raises(ListsError, match=says):
        parse_lists(data)


def test_bounds() -> None:
    def entries(count: int) -> bytes:
        return document("<list>" + "".join(f"<entry uri='sip:u{one}@b.example'/>" for one in range(count)) + "</list>")

    assert parse_lists(entries(MOST_ENTRIES)).count() == MOST_ENTRIES
    with pytest.raises(ListsError, match=f"{MOST_ENTRIES + 1} entries"):
        parse_lists(entries(MOST_ENTRIES + 1))
    long = parse_lists(document(f"<list><entry uri='sip:a@b'><display-name>{'n' * 999}</display-name></entry></list>"))
    assert long.lists[0].entries[0].display_name == "n" * LONGEST_NAME


@pytest.mark.requirement("SEC-05")
@given(st.integers(0, len(WHOLE) - 1))
def test_a_document_cut_anywhere_is_refused(at: int) -> None:
    with pytest.raises(ListsError):
        parse_lists(WHOLE[:at])


@pytest.mark.requirement("SEC-05")
@given(st.binary(max_size=200))
def test_any_bytes_are_lists_or_an_error(data: bytes) -> None:
    try:
        parse_lists(data)
    except ListsError as error:
        assert str(error)
