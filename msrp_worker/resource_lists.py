"""Lists of contacts: the resource-lists document of RFC 4826 (XDM-04). Pure: bytes in, `ResourceLists` out.

What a reference means to which document, and what a list comes to in the end, is in `list_references`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from lxml import etree

from msrp_worker import safe_xml
from msrp_worker.address import LONGEST_ADDRESS, canonical

RESOURCE_LISTS: Final = "urn:ietf:params:xml:ns:resource-lists"
MIME_TYPE: Final = "application/resource-lists+xml"
AUID: Final = "resource-lists"
USUAL_NAME: Final = "index"
"""What the one document of most users is called (RFC 4826 section 3.4.7)."""

LARGEST_DOCUMENT = 1 << 20
"""Bytes of a document: `MOST_ENTRIES` with names have about half of that."""
DEEPEST_ELEMENT = 16
"""Nesting of elements: lists in lists are for people, who do not nest them deeper than folders."""
MOST_ENTRIES = 5_000
"""Entries and references in one document, all its lists together: as many as a group may have members."""
LONGEST_NAME = 255
"""Characters of a display name that are kept: it goes into header fields of requests."""
SIP_SCHEMES: Final = ("sip:", "sips:", "tel:")
"""Entries that are addresses here; a list may hold others, such as mailto, which match nobody."""


class ListsError(ValueError):
    """Not a resource-lists document; the text says which element is wrong, and why."""


class Entry(msgspec.Struct, frozen=True):
    """One resource. `uri` as written, `address` canonical, empty for what is no IM address."""

    uri: str
    address: str
    display_name: str = ""


class EntryRef(msgspec.Struct, frozen=True):
    """An entry of another document of the same XCAP root; `ref` is relative to the root."""

    ref: str
    display_name: str = ""
    """In place of that of the entry."""


class External(msgspec.Struct, frozen=True):
    """A list elsewhere; `anchor` is absolute."""

    anchor: str


class ResourceList(msgspec.Struct, frozen=True):
    """A list with what stands in it, in order."""

    name: str | None
    items: tuple[Entry | EntryRef | External | ResourceList, ...] = ()

    @property
    def lists(self) -> tuple[ResourceList, ...]:
        """The lists right within it."""
        return tuple(item for item in self.items if isinstance(item, ResourceList))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries right within it."""
        return tuple(item for item in self.items if isinstance(item, Entry))


class ResourceLists(msgspec.Struct, frozen=True):
    """A document."""

    lists: tuple[ResourceList, ...] = ()

    def count(self) -> int:
        """Entries and references in all its lists."""
        return sum(map(_count, self.lists))


def parse_lists(data: bytes) -> ResourceLists:
    """The lists of a document. ListsError names the line and the element that is wrong (RFC 4826 section 3.1, SEC-05).

    Elements of other namespaces are extensions and ignored; those of the format must be known, and unique where it says so.
    """
    try:
        root = safe_xml.parse(data, LARGEST_DOCUMENT, DEEPEST_ELEMENT)
    except safe_xml.XmlError as error:
        raise ListsError(str(error)) from None
    if root.tag != f"{{{RESOURCE_LISTS}}}resource-lists":
        raise ListsError(f"the root is {etree.QName(root).text}, not resource-lists of {RESOURCE_LISTS}")
    for child in _own(root):
        if _name(child) != "list":
            raise _wrong(child, "has no place beside the lists")
    _unique(root, "list", "name")
    found = ResourceLists(tuple(map(_list, _own(root))))
    if (count := found.count()) > MOST_ENTRIES:
        raise ListsError(f"{count} entries and references, at most {MOST_ENTRIES} are taken")
    return found


def _list(element: etree._Element) -> ResourceList:
    for name, attribute in (("list", "name"), ("entry", "uri"), ("entry-ref", "ref"), ("external", "anchor")):
        _unique(element, name, attribute)
    return ResourceList(element.get("name"), tuple(_items(element)))


def _items(element: etree._Element) -> Iterator[Entry | EntryRef | External | ResourceList]:
    for child in _own(element):
        match _name(child):
            case "entry":
                yield _entry(child)
            case "entry-ref":
                yield EntryRef(_given(child, "ref"), _display_name(child))
            case "external":
                yield External(_given(child, "anchor"))
            case "list":
                yield _list(child)
            case "display-name":
                pass
            case _:
                raise _wrong(child, "has no place in a list")


def _entry(element: etree._Element) -> Entry:
    uri = _given(element, "uri")
    address = ""
    if uri.strip().lower().startswith(SIP_SCHEMES):
        try:
            address = canonical(uri)
        except ValueError as error:
            raise _wrong(element, str(error)) from None
    return Entry(uri, address, _display_name(element))


def _given(element: etree._Element, attribute: str) -> str:
    value = element.get(attribute)
    if not value or not value.strip():
        raise _wrong(element, f"without {attribute}")
    return value


def _display_name(element: etree._Element) -> str:
    found = element.find(f"{{{RESOURCE_LISTS}}}display-name")
    text = "" if found is None else found.text or ""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:LONGEST_NAME]


def _unique(parent: etree._Element, name: str, attribute: str) -> None:
    """Within one parent each value stands once, case and all (RFC 4826 section 3.1)."""
    seen: set[str] = set()
    for child in parent.iterchildren(f"{{{RESOURCE_LISTS}}}{name}"):
        value = child.get(attribute)
        if value is None:
            continue
        if value in seen:
            raise _wrong(child, f"the {attribute} {value[:LONGEST_ADDRESS]!r} stands twice")
        seen.add(value)


def _own(parent: etree._Element) -> Iterator[etree._Element]:
    return (child for child in parent if etree.QName(child).namespace == RESOURCE_LISTS)


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname


def _count(one: ResourceList) -> int:
    return sum(_count(item) if isinstance(item, ResourceList) else 1 for item in one.items)


def _wrong(element: etree._Element, reason: str) -> ListsError:
    line = f"line {element.sourceline}, " if element.sourceline is not None else ""
    return ListsError(f"{line}{_name(element)}: {reason}")
