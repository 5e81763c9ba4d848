"""XML from strangers (SEC-05): no DTD, no entities, no network, bounded size and depth."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lxml import etree

MAX_BYTES = 65_536
"""Largest document read unless the caller says otherwise, in bytes: notifications and status bodies are
under 4 KiB."""

# Char = #x9 | #xA | #xD | [#x20-#xD7FF] | [#xE000-#xFFFD] | [#x10000-#x10FFFF]
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class XmlError(ValueError):
    """Not an XML document that we read; `status` is the SIP or HTTP response that says so."""

    status = 400


def parse(data: bytes, max_bytes: int = MAX_BYTES) -> etree._Element:
    """The root element. Raises XmlError for malformed, oversized, and DTD-carrying documents."""
    if len(data) > max_bytes:
        raise XmlError(f"document over {max_bytes} bytes")
    parser = etree.XMLParser(  # a parser keeps state of its last document: one each
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise XmlError("malformed XML") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise XmlError("document type declarations are not allowed")
    return root


def text_of(parent: etree._Element, tag: str) -> str | None:
    """Stripped text of the first child with this tag ('{namespace}name'), None when there is no such
    child."""
    found = parent.find(tag)
    return None if found is None else (found.text or "").strip()


def new_document(namespace: str, name: str, children: Iterable[tuple[str, str | None]] = ()) -> etree._Element:
    """A root element in a default namespace with text children; those whose text is None are left out.
    Characters that XML 1.0 has no way to write are dropped: the text may come from a message."""
    root = etree.fromstring(f'<{name} xmlns="{namespace}"/>')
    for child, text in children:
        if text is not None:
            etree.SubElement(root, f"{{{namespace}}}{child}").text = _NOT_XML.sub("", text)
    return root


def serialise(root: etree._Element) -> bytes:
    """The document with its XML declaration, UTF-8."""
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")
