"""`xcap-caps`: which documents this server has (RFC 4825 section 12)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from xml.sax.saxutils import escape

from msrp_worker.xcap.selector import NodeSelector
from msrp_worker.xcap.usage import Document, Place, Usage


class Capabilities(Usage):
    """One document in the global tree that everybody who is somebody may read."""

    auid = "xcap-caps"
    content_type = "application/xcap-caps+xml"
    namespace = "urn:ietf:params:xml:ns:xcap-caps"
    is_global = True

    def __init__(self, others: Iterable[Usage]) -> None:
        usages = (self, *others)
        namespaces = dict.fromkeys(namespace for usage in usages for namespace in usage.namespaces)
        body = build([usage.auid for usage in usages], list(namespaces))
        self._document = Document(body, hashlib.sha256(body).hexdigest()[:16])

    async def fetch(self, place: Place, node: NodeSelector | None) -> Document | None:
        return self._document if place.path == ("index",) else None


def build(auids: Iterable[str], namespaces: Iterable[str]) -> bytes:
    """The document (section 12.2). No extension is supported, so the list of them is empty."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<xcap-caps xmlns="{Capabilities.namespace}">', "  <auids>"]
    lines += [f"    <auid>{escape(auid)}</auid>" for auid in auids]
    lines += ["  </auids>", "  <extensions/>", "  <namespaces>"]
    lines += [f"    <namespace>{escape(namespace)}</namespace>" for namespace in namespaces]
    return "\n".join([*lines, "  </namespaces>", "</xcap-caps>", ""]).encode()
