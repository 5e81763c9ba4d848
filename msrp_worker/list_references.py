"""References to lists of contacts, and what a list comes to in the end (RFC 4826, RFC 4825 section 6, XDM-04). Pure.

Lists refer to lists, and documents to documents. Whoever evaluates a reference reads the documents: `members_of` says which
it needs, and is asked again with them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar
from urllib.parse import quote, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

import msgspec

from msrp_worker.address import user_address
from msrp_worker.group import MOST_MEMBERS, Member
from msrp_worker.resource_lists import AUID, Entry, EntryRef, External, ResourceList, ResourceLists

T = TypeVar("T")

MOST_DOCUMENTS = 50
"""Documents that one list leads to: each is read from the store."""
DEEPEST_REFERENCE = 8
"""References one behind the other that are followed: a list of lists of lists is one of people, more is a chain."""
LONGEST_REFERENCE = 2_048
"""Characters of a reference: a user, a document and a few names of lists fit many times."""
MOST_PROBLEMS = 20
"""Problems that are told of one list."""
_PORTS: Final = {"http": 80, "https": 443}
_NODE: Final = "~~"
"""The path segment between a document and what is within it (RFC 4825 section 6.1)."""

# step = by-name / by-pos / by-attr / by-pos-attr, for the elements of resource lists (RFC 4825 section 6.3)
_STEP = re.compile(
    r"""/(?:[^\s/:\[\]@"']+:)?(?P<name>resource-lists|list|entry)
        (?:\[(?P<position>[0-9]{1,6})\])?
        (?:\[@(?P<attribute>name|uri)=(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)')\])?""",
    re.VERBOSE,
)
_KEPT: Final = ":@=+~!$'()*,"
"""Characters of a path segment that need no percent-encoding, beside letters, digits and `-._` (RFC 3986 section 3.3)."""
_ENTITIES: Final = {"&quot;": '"', "&apos;": "'"}


class UnusableReferenceError(ValueError):
    """A reference that leads to no list here; the text says why."""


class DocumentKey(NamedTuple):
    """A document of a user."""

    owner: str
    """Canonical address."""
    name: str


class Step(msgspec.Struct, frozen=True):
    """One step of a node selector: the element with that name that stands there, or has that attribute."""

    element: str
    position: int | None = None
    value: str | None = None
    """Of the attribute by which such elements are told apart: `name` of a list, `uri` of an entry."""


class Reference(msgspec.Struct, frozen=True):
    """What a reference leads to: a list of a document, or with a last step `entry` an entry of it."""

    document: DocumentKey
    steps: tuple[Step, ...]


class XcapRoots(msgspec.Struct, frozen=True):
    """Under which addresses this server's documents are known."""

    domain: str
    """The served domain: of users named without one."""
    roots: tuple[str, ...]
    """XCAP root URIs of this server."""

    def read(self, uri: str, *, relative: bool = False) -> Reference:
        """The list that `anchor` of an `external` means or, with `relative`, the entry that `ref` of an `entry-ref` does.

        UnusableReferenceError. COMPAT(documents that name lists of their own server without its root): relative anchors
        are read.
        """
        if len(uri) > LONGEST_REFERENCE:
            raise UnusableReferenceError(f"it has {len(uri)} characters, at most {LONGEST_REFERENCE} are read")
        segments = self._within_root(uri.strip(), relative=relative)
        if _NODE not in segments:
            raise UnusableReferenceError("it names a document, not a list in it")
        node = segments.index(_NODE)
        if len(segments[:node]) < 4 or segments[:2] != [AUID, "users"] or not all(segments[:node]):
            raise UnusableReferenceError(f"it is none of {AUID}/users/USER/DOCUMENT/~~/…")
        try:
            owner = user_address(segments[2], self.domain)
        except ValueError as error:
            raise UnusableReferenceError(str(error)) from None
        steps = _steps("/".join(("", *segments[node + 1 :])))
        if (steps[-1].element == "entry") is not relative:
            raise UnusableReferenceError(f"it names {'a list, not an entry' if relative else 'an entry, not a list'}")
        return Reference(DocumentKey(owner, "/".join(segments[3:node])), steps)

    def _within_root(self, uri: str, *, relative: bool) -> list[str]:
        """The path below the root, in segments."""
        try:
            parts = urlsplit(uri)
            path = parts.path
            if parts.scheme or parts.netloc:
                if relative:
                    raise UnusableReferenceError("it is not relative to the root")
                path = self._below(_place(uri), path)
        except UnicodeError as error:  # of a host
            raise UnusableReferenceError(str(error)) from None
        except UnusableReferenceError:
            raise
        except ValueError as error:  # of a port
            raise UnusableReferenceError(str(error)) from None
        return [unquote(segment) for segment in path.removeprefix("/").split("/")]

    def _below(self, place: tuple[str, str, int | None], path: str) -> str:
        for root in self.roots:
            own = urlsplit(root).path.rstrip("/") + "/"
            if _place(root) == place and path.startswith(own):
                return path[len(own) :]
        raise UnusableReferenceError("it is not on this server")


def anchor_of(root: str, document: DocumentKey, name: str) -> str:
    """The URI of a list at the top of a document, percent-encoded (RFC 4825 section 6.3)."""
    selector = f'list[@name="{escape(name, {character: entity for entity, character in _ENTITIES.items()})}"]'
    path = (AUID, "users", document.owner, document.name, _NODE, "resource-lists", selector)
    return "/".join((root, *(quote(segment, safe=_KEPT) for segment in path)))


def shown(text: str) -> str:
    """For logs and terminals: references come from strangers (SEC-05)."""
    return "".join(character if character.isprintable() else " " for character in text)


def _place(uri: str) -> tuple[str, str, int | None]:
    """Scheme, host and port. ValueError."""
    parts = urlsplit(uri)
    return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme.lower())


def _steps(selector: str) -> tuple[Step, ...]:
    """The steps of a decoded node selector below the root element. UnusableReferenceError."""
    found: list[Step] = []
    at = 0
    while at < len(selector):
        match = _STEP.match(selector, at)
        if match is None:
            raise UnusableReferenceError(f"not understood from {selector[at:][:40]!r} on")
        found.append(_step(match))
        at = match.end()
    names = [step.element for step in found]
    if len(found) < 2 or names[0] != "resource-lists" or set(names[1:-1]) - {"list"} or names[-1] == "resource-lists":
        raise UnusableReferenceError("it names no list of a document of lists")
    return tuple(found[1:])


def _step(match: re.Match[str]) -> Step:
    element, attribute = match["name"], match["attribute"]
    if attribute is not None and attribute != {"list": "name", "entry": "uri"}.get(element):
        raise UnusableReferenceError(f"no {element} is told by its {attribute}")
    value = match["double"] if match["double"] is not None else match["single"]
    position = None if match["position"] is None else int(match["position"])
    return Step(element, position, None if value is None else unescape(value, _ENTITIES))


def find_list(document: ResourceLists, steps: tuple[Step, ...]) -> ResourceList | None:
    """The list that the steps lead to, None when there is none, or more than one (RFC 4825 section 6.3)."""
    lists = document.lists
    found: ResourceList | None = None
    for step in steps:
        found = _only([(one.name, one) for one in lists], step)
        if found is None:
            return None
        lists = found.lists
    return found


def find_entry(document: ResourceLists, steps: tuple[Step, ...]) -> Entry | None:
    """The entry that the steps lead to, as `find_list`."""
    if len(steps) < 2:
        return None
    within = find_list(document, steps[:-1])
    return None if within is None else _only([(one.uri, one) for one in within.entries], steps[-1])


def _only(candidates: list[tuple[str | None, T]], step: Step) -> T | None:
    if step.position is not None:
        candidates = candidates[step.position - 1 : step.position] if step.position else []
    if step.value is not None:
        candidates = [one for one in candidates if one[0] == step.value]
    return candidates[0][1] if len(candidates) == 1 else None


class Outcome(msgspec.Struct, frozen=True):
    """What a list comes to."""

    members: tuple[Member, ...] = ()
    """In the order of the documents, each address once."""
    missing: frozenset[DocumentKey] = frozenset()
    """Documents to be read: ask again with them. The rest is not complete before."""
    problems: tuple[str, ...] = ()
    """References that lead nowhere, and bounds that were met; they hold nobody."""


def members_of(anchor: str, documents: Mapping[DocumentKey, ResourceLists | None], roots: XcapRoots) -> Outcome:
    """The addresses on the list of an anchor and on all lists that it refers to. `documents`: those read up to now, None
    for one that does not exist. A circle of references adds nothing."""
    walk = _Walk(documents, roots)
    walk.external(anchor, 0)
    while walk.waiting:
        walk.take(*walk.waiting.pop())
    return Outcome(tuple(walk.found.values()), frozenset(walk.missing), tuple(walk.problems))


class _Walk:
    """Goes through the lists in order, without recursion: the documents come from strangers (SEC-05)."""

    def __init__(self, documents: Mapping[DocumentKey, ResourceLists | None], roots: XcapRoots) -> None:
        self.found: dict[str, Member] = {}
        self.missing: set[DocumentKey] = set()
        self.problems: dict[str, None] = {}
        self.waiting: list[tuple[Entry | EntryRef | External | ResourceList, int]] = []
        """What is still to be looked at, the next one last, with the number of references that led to it."""
        self._documents = documents
        self._roots = roots
        self._seen: dict[int, int] = {}
        """Lists that were taken, with the number of references: nearer by, more of what they refer to is followed."""

    def take(self, item: Entry | EntryRef | External | ResourceList, depth: int) -> None:
        match item:
            case Entry(address=address, display_name=name):
                self._add(address, name)
            case EntryRef():
                self._entry(item, depth + 1)
            case External(anchor=anchor):
                self.external(anchor, depth + 1)
            case ResourceList():
                if self._seen.get(id(item), depth + 1) > depth:
                    self._seen[id(item)] = depth
                    self.waiting += ((one, depth) for one in reversed(item.items))

    def external(self, anchor: str, depth: int) -> None:
        reference = self._read(anchor, depth, relative=False)
        document = None if reference is None else self._document(anchor, reference)
        if reference is None or document is None:
            return
        found = find_list(document, reference.steps)
        if found is None:
            self._problem(anchor, f"the document of {reference.document.owner} has no such list")
        else:
            self.waiting.append((found, depth))

    def _entry(self, item: EntryRef, depth: int) -> None:
        reference = self._read(item.ref, depth, relative=True)
        document = None if reference is None else self._document(item.ref, reference)
        if reference is None or document is None:
            return
        found = find_entry(document, reference.steps)
        if found is None:
            self._problem(item.ref, f"the document of {reference.document.owner} has no such entry")
        else:
            self._add(found.address, item.display_name or found.display_name)

    def _read(self, uri: str, depth: int, *, relative: bool) -> Reference | None:
        if depth > DEEPEST_REFERENCE:
            self._problem(uri, f"more than {DEEPEST_REFERENCE} references one behind the other")
            return None
        try:
            return self._roots.read(uri, relative=relative)
        except UnusableReferenceError as error:
            self._problem(uri, str(error))
            return None

    def _document(self, uri: str, reference: Reference) -> ResourceLists | None:
        key = reference.document
        if key not in self._documents:
            if key in self.missing or len(self._documents) + len(self.missing) < MOST_DOCUMENTS:
                self.missing.add(key)
            else:
                self._problem(uri, f"more than {MOST_DOCUMENTS} documents")
            return None
        found = self._documents[key]
        if found is None:
            self._problem(uri, f"{key.owner} has no document {key.name}")
        return found

    def _add(self, address: str, name: str) -> None:
        if not address or address in self.found:
            return
        if len(self.found) >= MOST_MEMBERS:
            self._problem(address, f"left out, as all that come after {MOST_MEMBERS} addresses")
            return
        self.found[address] = Member(address, name)

    def _problem(self, uri: str, reason: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems[shown(f"{uri[:LONGEST_REFERENCE]}: {reason}")] = None
