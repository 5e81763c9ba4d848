"""Group advertisements (E.1.5 to E.1.8): tells users of groups that they may join. Pure."""

from __future__ import annotations

from lxml import etree

from msrp_worker import safe_xml

CONTENT_TYPE = "application/vnd.im.group-advertisement+xml"
"""In lower case, as media types compare; the specification writes vnd.IM."""
NAMESPACES = frozenset(
    {
        "urn:oma:params:xml:ns:IM:group-advertisement",
        "urn:oma:params:xml:ns:im:group-advertisement",  # the last note of E.1.8
        "urn:oma:params:xml:ns:IM:groupadvertisement",  # the text of E.1.6
    }
)
LARGEST = 65_536
"""Bytes of a document; one with a note and a dozen groups has 2 KiB."""
TYPES = frozenset({"dialed-in", "dialed-out", "other"})


class AdvertisementError(ValueError):
    """Not a group advertisement; the text says which element is wrong."""


def validate(document: bytes) -> None:
    """Hold a document against the schema of E.1.8 (ADV-02). AdvertisementError."""
    try:
        root = safe_xml.parse(document, LARGEST)
    except safe_xml.XmlError as error:
        raise AdvertisementError(str(error)) from None
    name = etree.QName(root)
    if name.localname != "group-advertisement" or name.namespace not in NAMESPACES:
        raise AdvertisementError("the document is no group-advertisement")
    children = list(root.iterchildren(tag=etree.Element))
    space = f"{{{name.namespace}}}"
    if children and children[0].tag == f"{space}note":
        _no_children(children.pop(0))
    if not children:
        raise AdvertisementError("group-advertisement: names no group")
    for child in children:
        if child.tag != f"{space}group":
            raise AdvertisementError(f"group-advertisement: {_shown(child)} has no place there")
        _group(child, space)


def _group(group: etree._Element, space: str) -> None:
    kind = group.get("type")
    if kind is not None and kind not in TYPES:
        raise AdvertisementError(f"group: type is {kind[:40]!r}")
    children = list(group.iterchildren(tag=etree.Element))
    if children and children[0].tag == f"{space}display-name":
        _no_children(children.pop(0))
    uris = 0
    while children and children[0].tag == f"{space}uri":
        _no_children(children[0])
        if not (children.pop(0).text or "").strip():
            raise AdvertisementError("group: an empty uri")
        uris += 1
    if not uris:
        raise AdvertisementError("group: has no uri")
    for child in children:
        if str(child.tag).startswith(space):
            raise AdvertisementError(f"group: {_shown(child)} has no place there")


def _no_children(element: etree._Element) -> None:
    if next(element.iterchildren(tag=etree.Element), None) is not None:
        raise AdvertisementError(f"{_shown(element)}: has elements inside")


def _shown(element: etree._Element) -> str:
    return etree.QName(element).localname[:40]
