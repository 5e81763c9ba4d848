"""Messages to several recipients: the URI list (RFC 5365, RFC 5364, RFC 4826) and its history. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import cast

from lxml import etree

from .errors import MalformedMessageError
from .multipart import Part, build
from .wire import parse_uri

RESOURCE_LISTS = "application/resource-lists+xml"
LIST_NAMESPACE = "urn:ietf:params:xml:ns:resource-lists"
COPY_NAMESPACE = "urn:ietf:params:xml:ns:copycontrol"
# The stubs of lxml do not know None, which stands for the default namespace.
_PREFIXES = cast("dict[str, str]", {None: LIST_NAMESPACE, "cp": COPY_NAMESPACE})

REQUIRE = ("Require", "recipient-list-message")  # RFC 5365 section 6


class CopyControl(Enum):
    """RFC 5364 section 4; an entry without it counts as BCC."""

    TO = "to"
    CC = "cc"
    BCC = "bcc"


@dataclass(frozen=True, slots=True)
class Recipient:
    """One entry of a list. `count` of an anonymized entry is how many it stands for."""

    uri: str
    copy_control: CopyControl | None = CopyControl.TO
    anonymize: bool = False
    count: int = 1


def build_list(recipients: Sequence[Recipient]) -> bytes:
    """The flat resource-lists document. Raises ValueError for a URI that is none."""
    root = etree.Element(f"{{{LIST_NAMESPACE}}}resource-lists", nsmap=_PREFIXES)
    entries = etree.SubElement(root, f"{{{LIST_NAMESPACE}}}list")
    for recipient in recipients:
        parse_uri(recipient.uri.partition("?")[0])
        entry = etree.SubElement(entries, f"{{{LIST_NAMESPACE}}}entry", uri=recipient.uri)
        if recipient.copy_control is not None:
            entry.set(f"{{{COPY_NAMESPACE}}}copyControl", recipient.copy_control.value)
        if recipient.anonymize:
            entry.set(f"{{{COPY_NAMESPACE}}}anonymize", "true")
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def build_body(
    content_type: str, body: bytes, recipients: Sequence[Recipient], boundary: str
) -> tuple[str, bytes]:
    """Content-Type and bytes of a MESSAGE to `recipients` (clause 8.1.1-5a)."""
    listing = Part(RESOURCE_LISTS, build_list(recipients), (("Content-Disposition", "recipient-list"),))
    return build([Part(content_type, body), listing], boundary)


def parse_list(document: bytes) -> list[Recipient]:
    """The entries of a resource-lists document, in order. Raises MalformedMessageError."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(document, parser)
    except etree.XMLSyntaxError as error:
        raise MalformedMessageError(f"not a resource list: {error}") from None
    if root.tag != f"{{{LIST_NAMESPACE}}}resource-lists":
        raise MalformedMessageError(f"not a resource list but {str(root.tag)[:60]!r}")
    return [_entry(entry) for entry in root.iter(f"{{{LIST_NAMESPACE}}}entry")]


def _entry(entry: etree._Element) -> Recipient:
    control = entry.get(f"{{{COPY_NAMESPACE}}}copyControl")
    count = entry.get(f"{{{COPY_NAMESPACE}}}count") or "1"
    try:
        copy_control = None if control is None else CopyControl(control)
    except ValueError:
        raise MalformedMessageError(f"unknown copyControl {control!r}") from None
    anonymize = (entry.get(f"{{{COPY_NAMESPACE}}}anonymize") or "false") in ("true", "1")
    return Recipient(
        entry.get("uri") or "",
        copy_control,
        anonymize,
        int(count) if count.isdecimal() and len(count) < 10 else 1,
    )
