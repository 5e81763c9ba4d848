"""Reads XML of strangers: no DTD, so no entities; nothing is fetched; size and depth are bounded (SEC-05).

Pure: bytes go in, an element comes out.
"""

from __future__ import annotations

from typing import cast

from lxml import etree

_PIECE = 4096
"""Bytes fed at a time, so that depth is judged before a deep document is built."""


class XmlError(ValueError):
    """The document is not read; the text says why."""


def read_xml(document: bytes, *, largest: int, deepest: int) -> etree._Element:
    """The root of a document of at most `largest` bytes whose elements nest at most `deepest` deep. XmlError."""
    if len(document) > largest:
        raise XmlError(f"the document has {len(document)} bytes, at most {largest} are read")
    parser = etree.XMLPullParser(
        events=("start", "end"),
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    depth = 0
    root: etree._Element | None = None
    try:
        for start in range(0, len(document), _PIECE):
            parser.feed(document[start : start + _PIECE])
            for event, element in parser.read_events():
                assert isinstance(element, etree._Element)
                depth += 1 if event == "start" else -1
                if depth > deepest:
                    raise XmlError(f"elements are nested deeper than {deepest}")
                if root is None:
                    root = element
                    _refuse_dtd(root)
        parser.close()
    except etree.XMLSyntaxError as error:
        raise XmlError(f"not well-formed XML: {error.msg}") from None
    if root is None:
        raise XmlError("not well-formed XML: the document is empty")
    return root


def _refuse_dtd(root: etree._Element) -> None:
    dtd = cast("etree.DTD | None", root.getroottree().docinfo.internalDTD)
    if dtd is not None:  # no DTD, no entities (SEC-05)
        raise XmlError("a document type declaration is not accepted")
