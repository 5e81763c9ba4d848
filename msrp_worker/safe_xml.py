"""XML from strangers (SEC-05): no DTD, no entities, no network, bounded size and depth."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import cast
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

MAX_BYTES = 65_536
"""Largest document read unless the caller says otherwise, in bytes: notifications and status bodies are
under 4 KiB."""

MAX_DEPTH = 64
"""Nesting of elements unless the caller says otherwise; documents of the service need less than ten."""
_PIECE = 4096
"""Bytes fed to the parser at a time, so that depth is judged before a deep document is built."""

# Char = #x9 | #xA | #xD | [#x20-#xD7FF] | [#xE000-#xFFFD] | [#x10000-#x10FFFF]
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class XmlError(ValueError):
    """Not an XML document that we read; `status` is the SIP or HTTP response that says so."""

    status = 400


def parse(data: bytes, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH, *, keep_all: bool = False) -> etree._Element:
    """The root element; comments and processing instructions are left out unless `keep_all`.

    Raises XmlError, with the reason, for malformed, oversized, too deep and DTD-carrying documents.
    """
    if len(data) > max_bytes:
        raise XmlError(f"the document has {len(data)} bytes, at most {max_bytes} are read")
    parser = etree.XMLPullParser(
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=not keep_all,
        remove_pis=not keep_all,
    )
    depth = 0
    root: etree._Element | None = None
    try:
        for start in (*range(0, len(data), _PIECE), None):
            if start is None:
                parser.close()  # the end may bring events: a document of four bytes brings all of them
            else:
                parser.feed(data[start : start + _PIECE])
            for event, element in parser.read_events():
                assert isinstance(element, etree._Element)
                depth += 1 if event == "start" else -1
                if depth > max_depth:
                    raise XmlError(f"elements are nested deeper than {max_depth}")
                if root is None:
                    root = element
                    _refuse_dtd(root)
    except etree.XMLSyntaxError as error:
        raise XmlError(f"not well-formed XML: {_one_line(error.msg)}") from None
    if root is None:
        raise XmlError("not well-formed XML: the document is empty")
    return root


def _one_line(text: str | None) -> str:
    """What the parser says, which quotes the document: it goes into header fields and to terminals (SEC-05)."""
    return " ".join("".join(character if character.isprintable() else " " for character in text or "").split())


def _refuse_dtd(root: etree._Element) -> None:
    dtd = cast("etree.DTD | None", root.getroottree().docinfo.internalDTD)
    if dtd is not None:  # no DTD, no entities (SEC-05)
        raise XmlError("a document type declaration is not accepted")


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
            etree.SubElement(root, f"{{{namespace}}}{child}").text = writable(text)
    return root


def writable(text: str) -> str:
    """Text without the characters that XML 1.0 has no way to write."""
    return _NOT_XML.sub("", text)


def escaped(text: str) -> str:
    """Text as the content of an element."""
    return escape(writable(text))


def quoted(text: str) -> str:
    """Text as the value of an attribute, with its quotes."""
    return quoteattr(writable(text))


def serialise(root: etree._Element) -> bytes:
    """The document with its XML declaration, UTF-8."""
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")
