"""URI-lists in requests (RFC 5363, used by RFC 5365, 5366, 5368): who is meant, and who may know of whom (RFC 5364).

Pure. The lists of Message-IDs that a retrieval carries are of the same format: `read_resource_list`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Final, cast

import msgspec
from lxml import etree

from msrp_worker import safe_xml
from msrp_worker.address import of_record
from msrp_worker.multipart import MultipartError, Part, read_parts

RESOURCE_LISTS: Final = "application/resource-lists+xml"
RECIPIENT_LIST: Final = "recipient-list"
"""Content-Disposition of a URI-list (RFC 5363 section 4)."""
HISTORY: Final = "recipient-list-history"
"""Content-Disposition of what the recipients are told (RFC 5364 section 7)."""
ANONYMOUS: Final = "sip:anonymous@anonymous.invalid"
"""Stands for an entry that is not to be disclosed (RFC 5364 section 4)."""

LIST_SPACE: Final = "urn:ietf:params:xml:ns:resource-lists"
COPY_SPACE: Final = "urn:ietf:params:xml:ns:copycontrol"
_PREFIXES = cast("dict[str, str]", {None: LIST_SPACE, "cp": COPY_SPACE})  # its stubs do not know None

LARGEST_LIST = 131_072
"""Bytes of a list: what fits into a request that Kamailio takes."""
MOST_ENTRIES = 5_000
"""Entries of a list: one of the largest size has about that many of 25 bytes and more. Whoever serves the request has a
limit of its own below this one (MAX-ADHOC-GROUP-SIZE)."""
DEEPEST_ELEMENT = 16
"""Nesting of elements: a flat list has four, the rest is room for lists in lists."""


class CopyControl(enum.Enum):
    """RFC 5364 section 4, the most telling first; an entry without it is BCC."""

    TO = "to"
    CC = "cc"
    BCC = "bcc"


_PRECEDENCE: Final = (CopyControl.TO, CopyControl.CC, CopyControl.BCC)


class Problem(enum.Enum):
    """What is wrong with a list."""

    MALFORMED = "malformed"
    EMPTY = "empty"
    TOO_LONG = "too long"
    FOREIGN = "foreign"
    """Names somebody who cannot be reached here: another scheme, or a list that lies elsewhere."""
    FORMAT = "format"
    """A recipient-list in a format that is not read."""


_STATUS: Final = {Problem.TOO_LONG: 413, Problem.FORMAT: 415}


class UriListError(ValueError):
    """The list cannot be served; the text is good for a Warning."""

    def __init__(self, problem: Problem, text: str) -> None:
        super().__init__(text)
        self.problem = problem
        self.status = _STATUS.get(problem, 400)
        """The SIP response that says so."""


class Recipient(msgspec.Struct, frozen=True):
    """One entry of a list."""

    uri: str
    """Whom it means, for comparisons: `address.of_record`."""
    target: str
    """The Request-URI to reach it: as written, with its parameters, without header components."""
    copy_control: CopyControl = CopyControl.BCC
    anonymize: bool = False
    display_name: str = ""


class UriList(msgspec.Struct, frozen=True):
    """The recipients of a request, each address once, in the order of the list."""

    recipients: tuple[Recipient, ...]

    def without(self, uri: str) -> UriList:
        """The list without a canonical address, such as the sender's own. It may be empty then."""
        return UriList(tuple(one for one in self.recipients if one.uri != uri))

    def __len__(self) -> int:
        return len(self.recipients)


def read_uri_list(content_type: str, body: bytes, disposition: str = "", most: int = MOST_ENTRIES) -> UriList | None:
    """The recipient-list in the body of a request, None when it has none. `content_type` and `disposition` are header
    fields of the request. At most `most` different addresses. UriListError.

    Several lists are one (RFC 5363 section 4.1); a list without Content-Disposition is taken for a recipient-list.
    Lists in lists count as one flat list. What refers to a list elsewhere (entry-ref, external) refuses the request:
    RFC 5366 section 4 would let us leave it out, but then somebody would miss the message, and nobody would know.
    """
    try:
        parts = [part for part in read_parts(content_type, body, disposition) if is_recipient_list(part)]
    except MultipartError as error:
        raise UriListError(Problem.MALFORMED, str(error)) from None
    if not parts:
        return None
    found: dict[str, Recipient] = {}
    for part in parts:
        if part.media_type != RESOURCE_LISTS:
            raise UriListError(Problem.FORMAT, f"URI-list: {_shown(part.media_type)} is not {RESOURCE_LISTS}")
        for entry in read_resource_list(part.body):
            _add(found, _recipient(entry), most)
    if not found:
        raise UriListError(Problem.EMPTY, "URI-list: it is empty")
    return UriList(tuple(found.values()))


def read_resource_list(document: bytes) -> list[etree._Element]:
    """The entries of a resource-lists document in its order (RFC 4826 section 3.2, SEC-05). UriListError."""
    try:
        root = safe_xml.parse(document, LARGEST_LIST, DEEPEST_ELEMENT)
    except safe_xml.XmlError as error:
        raise UriListError(Problem.MALFORMED, f"URI-list: {error}") from None
    if str(root.tag) != f"{{{LIST_SPACE}}}resource-lists":
        raise UriListError(Problem.MALFORMED, "URI-list: not a resource-lists document")
    entries = list(_entries(root))
    if len(entries) > MOST_ENTRIES:
        raise UriListError(Problem.TOO_LONG, f"URI-list: more than {MOST_ENTRIES} entries")
    return entries


def build_list(recipients: Iterable[Recipient]) -> bytes:
    """A flat resource-lists document, with copyControl and anonymize (RFC 5364)."""
    return _document((one.target, one.copy_control, one.anonymize, 1) for one in recipients)


def build_history(recipients: UriList) -> bytes | None:
    """What every recipient may know of the others (RFC 5364 section 4): those of `to` and `cc`, the anonymised ones of
    each as one entry with their count, nobody of `bcc`. None when nobody is left to tell of.

    The same for all recipients; those of `bcc` see from their absence that they must not answer all.
    """
    shown: dict[tuple[str, CopyControl], int] = {}
    for one in recipients.recipients:
        if one.copy_control is CopyControl.BCC:
            continue
        key = (ANONYMOUS if one.anonymize else one.target, one.copy_control)
        shown[key] = shown.get(key, 0) + 1
    if not shown:
        return None
    return _document((uri, control, False, count) for (uri, control), count in shown.items())


def history_part(recipients: UriList) -> Part | None:
    """`build_history` as a part for `multipart.build`; optional, so that who does not know it takes the request."""
    document = build_history(recipients)
    if document is None:
        return None
    return Part(RESOURCE_LISTS, document, (("Content-Disposition", f"{HISTORY}; handling=optional"),))


def is_recipient_list(part: Part) -> bool:
    """Whether a part of a body is the list of its recipients, whatever its format."""
    return part.disposition == RECIPIENT_LIST or (not part.disposition and part.media_type == RESOURCE_LISTS)


def _entries(element: etree._Element) -> Iterator[etree._Element]:
    for child in element:
        name = etree.QName(child)
        if name.namespace != LIST_SPACE:
            continue
        match name.localname:
            case "entry":
                yield child
            case "list":
                yield from _entries(child)
            case "entry-ref" | "external":
                raise UriListError(Problem.FOREIGN, f"URI-list: {name.localname} refers to a list elsewhere")
            case _:
                pass  # names


def _recipient(entry: etree._Element) -> Recipient:
    written = (entry.get("uri") or "").strip()
    scheme, colon, _ = written.partition(":")
    if not colon:
        raise UriListError(Problem.MALFORMED, f"URI-list: {_shown(written)} is not a URI")
    if scheme.lower() not in ("sip", "sips", "tel"):
        raise UriListError(Problem.FOREIGN, f"URI-list: {_shown(written)} cannot be reached with SIP")
    target = written.partition("?")[0].strip()  # header fields chosen by a stranger go into no request of ours
    try:
        uri = of_record(target)  # CNF-06: parameters make no other user
    except ValueError:
        raise UriListError(Problem.MALFORMED, f"URI-list: {_shown(written)} is not an address") from None
    name = entry.find(f"{{{LIST_SPACE}}}display-name")
    return Recipient(
        uri, target, _copy_control(entry), _anonymize(entry), "" if name is None else " ".join((name.text or "").split())
    )


def _copy_control(entry: etree._Element) -> CopyControl:
    word = entry.get(f"{{{COPY_SPACE}}}copyControl")
    try:
        return CopyControl.BCC if word is None else CopyControl(word.strip().lower())
    except ValueError:
        raise UriListError(Problem.MALFORMED, f"URI-list: copyControl is {_shown(word or '')}") from None


def _anonymize(entry: etree._Element) -> bool:
    word = (entry.get(f"{{{COPY_SPACE}}}anonymize") or "false").strip()
    if word not in ("true", "1", "false", "0"):
        raise UriListError(Problem.MALFORMED, f"URI-list: anonymize is {_shown(word)}")
    return word in ("true", "1")


def _add(found: dict[str, Recipient], one: Recipient, most: int) -> None:
    """RFC 5363 section 4.1: an address counts once, with its highest copyControl (RFC 5364 section 4)."""
    before = found.get(one.uri)
    if before is None:
        if len(found) == most:
            raise UriListError(Problem.TOO_LONG, f"URI-list: more than {most} addresses")
        found[one.uri] = one
        return
    control = min(before.copy_control, one.copy_control, key=_PRECEDENCE.index)
    # Whom one entry asks not to disclose, the other does not disclose either.
    found[one.uri] = msgspec.structs.replace(before, copy_control=control, anonymize=before.anonymize or one.anonymize)


def _document(entries: Iterable[tuple[str, CopyControl, bool, int]]) -> bytes:
    root = etree.Element(f"{{{LIST_SPACE}}}resource-lists", nsmap=_PREFIXES)
    flat = etree.SubElement(root, f"{{{LIST_SPACE}}}list")
    for uri, control, anonymize, count in entries:
        entry = etree.SubElement(flat, f"{{{LIST_SPACE}}}entry", uri=uri)
        entry.set(f"{{{COPY_SPACE}}}copyControl", control.value)
        if anonymize:
            entry.set(f"{{{COPY_SPACE}}}anonymize", "true")
        if uri == ANONYMOUS:
            entry.set(f"{{{COPY_SPACE}}}count", str(count))
    return safe_xml.serialise(root)


def _shown(text: str) -> str:
    """A stranger's text for a Warning."""
    return repr(text[:60])
