"""Group advertisements (E.1.5 to E.1.9): documents that tell users of groups. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lxml import etree

from msrp_worker import safe_xml

CONTENT_TYPE: Final = "application/vnd.im.group-advertisement+xml"
"""In lower case, as media types compare; the specification writes vnd.IM."""
FEATURE_TAG: Final = "+g.poc.groupad"
"""Of devices that take group advertisements (E.1.9, ADV-03)."""
NAMESPACE: Final = "urn:oma:params:xml:ns:IM:group-advertisement"
NAMESPACES: Final = frozenset(
    {
        NAMESPACE,
        "urn:oma:params:xml:ns:im:group-advertisement",  # the last note of E.1.8
        "urn:oma:params:xml:ns:IM:groupadvertisement",  # the text of E.1.6
    }
)
LARGEST: Final = 65_536
"""Bytes of a document; one with a note and a dozen groups has 2 KiB."""
TYPES: Final = frozenset({"dialed-in", "dialed-out", "other"})


class AdvertisementError(ValueError):
    """Not a group advertisement; the text says which element is wrong."""


@dataclass(frozen=True, slots=True)
class AdvertisedGroup:
    """One group: where it is, at least one URI; how it is called; `dialed-in` for one that is joined (a chat room),
    `dialed-out` for one that invites, `other`, or empty where that is not told."""

    uris: tuple[str, ...]
    name: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Advertisement:
    """Groups, and what is to be said about them."""

    groups: tuple[AdvertisedGroup, ...]
    note: str = ""


def parse(document: bytes) -> Advertisement:
    """Read a document and hold it against the schema of E.1.8 (ADV-02). AdvertisementError."""
    try:
        root = safe_xml.parse(document, LARGEST)
    except safe_xml.XmlError as error:
        raise AdvertisementError(str(error)) from None
    name = etree.QName(root)
    if name.localname != "group-advertisement" or name.namespace not in NAMESPACES:
        raise AdvertisementError("the document is no group-advertisement")
    children = list(root.iterchildren(tag=etree.Element))
    space = f"{{{name.namespace}}}"
    note = _text(children.pop(0)) if children and children[0].tag == f"{space}note" else ""
    if not children:
        raise AdvertisementError("group-advertisement: names no group")
    for child in children:
        if child.tag != f"{space}group":
            raise AdvertisementError(f"group-advertisement: {_shown(child)} has no place there")
    return Advertisement(tuple(_group(child, space) for child in children), note)


def build(advertisement: Advertisement) -> bytes:
    """The document. AdvertisementError for what the schema does not allow."""
    root = safe_xml.new_document(NAMESPACE, "group-advertisement", [("note", advertisement.note or None)])
    for group in advertisement.groups:
        element = etree.SubElement(root, f"{{{NAMESPACE}}}group", attrib={"type": group.kind} if group.kind else {})
        for name, text in (("display-name", group.name), *(("uri", uri) for uri in group.uris)):
            if text or name == "uri":
                etree.SubElement(element, f"{{{NAMESPACE}}}{name}").text = text
    document = safe_xml.serialise(root)
    parse(document)
    return document


def _group(group: etree._Element, space: str) -> AdvertisedGroup:
    kind = group.get("type")
    if kind is not None and kind not in TYPES:
        raise AdvertisementError(f"group: type is {kind[:40]!r}")
    children = list(group.iterchildren(tag=etree.Element))
    name = _text(children.pop(0)) if children and children[0].tag == f"{space}display-name" else ""
    uris: list[str] = []
    while children and children[0].tag == f"{space}uri":
        uris.append(_text(children.pop(0)))
        if not uris[-1]:
            raise AdvertisementError("group: an empty uri")
    if not uris:
        raise AdvertisementError("group: has no uri")
    for child in children:
        if str(child.tag).startswith(space):
            raise AdvertisementError(f"group: {_shown(child)} has no place there")
    return AdvertisedGroup(tuple(uris), name, kind or "")


def _text(element: etree._Element) -> str:
    if next(element.iterchildren(tag=etree.Element), None) is not None:
        raise AdvertisementError(f"{_shown(element)}: has elements inside")
    return (element.text or "").strip()


def _shown(element: etree._Element) -> str:
    return etree.QName(element).localname[:40]
