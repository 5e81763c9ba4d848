"""An application usage (RFC 4825 section 5): one kind of document, where it is, and what may be done to it.

A new kind of document is one object of this class: what it is called, how it is fetched, and what a change means. A usage
that keeps documents as they are overrides `fetch`, `check` and `change`; one that makes them of other things says in
`change` which of those things goes with an element.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec
from lxml import etree

from msrp_worker.xcap.report import Conflict
from msrp_worker.xcap.selector import NodeSelector

READ: Final = frozenset({"GET", "HEAD"})
WRITE: Final = frozenset({"PUT", "DELETE"})


class Place(msgspec.Struct, frozen=True):
    """Which document of a usage."""

    user: str | None
    """Canonical address of the owner, who asks; None in the global tree."""
    path: tuple[str, ...]


class Document(msgspec.Struct, frozen=True):
    """A document as it stands."""

    body: bytes
    etag: str
    """Without quotes; another one after any change (section 8.5)."""


class Change(msgspec.Struct, frozen=True):
    """What a request makes of a document, worked out but not done yet."""

    before: Document | None
    body: bytes | None
    """The new document; None: it is to go."""
    root: etree._Element | None
    """Of the new document."""
    created: bool = False
    """The resource of the URI was not there before."""
    removed: etree._Element | None = None
    """The element that is to go, as it stood."""
    attribute: bool = False
    """It is an attribute of `removed` that goes."""


class Done(msgspec.Struct, frozen=True):
    """The change was done; `etag` is None where no document is left."""

    etag: str | None


class Lost(msgspec.Struct, frozen=True):
    """The document has changed since it was fetched: nothing was done, the request is looked at again."""


class Gone(msgspec.Struct, frozen=True):
    """What was to be changed is there no more: 404."""


Outcome = Done | Lost | Gone | Conflict


class Usage:
    """An application usage that can be read, with nothing in it."""

    auid: ClassVar[str]
    content_type: ClassVar[str]
    namespace: ClassVar[str]
    """Default document namespace: that of names without a prefix in a node selector (section 5.2)."""
    methods: frozenset[str] = READ
    is_global: ClassVar[bool] = False
    """Its documents are in the global tree, and nowhere else."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Namespaces that documents of this kind are made of, for xcap-caps."""
        return (self.namespace,)

    async def fetch(self, place: Place, node: NodeSelector | None) -> Document | None:
        """The document at a place, None when there is none. StoreError.

        Where a node of it is asked for, any document will do in which `node` selects the same as in the whole one.
        """
        return None

    def check(self, root: etree._Element) -> Conflict | None:
        """Why a document cannot be one of this kind: its schema and constraints (section 8.2.5). Pure."""
        return None

    async def change(self, place: Place, change: Change) -> Outcome:
        """Do what was worked out, durable on return. StoreError."""
        raise AssertionError(f"{self.auid} cannot be changed: {change}")
