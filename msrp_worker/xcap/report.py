"""Detailed conflict reports (RFC 4825 section 11): why a request was refused 409. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final
from xml.sax.saxutils import escape, quoteattr

import msgspec

CONTENT_TYPE: Final = "application/xcap-error+xml"
NAMESPACE: Final = "urn:ietf:params:xml:ns:xcap-error"


class Kind(Enum):
    """The error elements of section 11.1."""

    NOT_WELL_FORMED = "not-well-formed"
    NOT_XML_FRAGMENT = "not-xml-frag"
    NO_PARENT = "no-parent"
    SCHEMA_VALIDATION_ERROR = "schema-validation-error"
    NOT_XML_ATTRIBUTE_VALUE = "not-xml-att-value"
    CANNOT_INSERT = "cannot-insert"
    CANNOT_DELETE = "cannot-delete"
    UNIQUENESS_FAILURE = "uniqueness-failure"
    CONSTRAINT_FAILURE = "constraint-failure"
    NOT_UTF_8 = "not-utf-8"


class Exists(msgspec.Struct, frozen=True):
    """A value that has to be unique and is not."""

    field: str
    """Relative URI of the element or attribute, from the root element on, percent-encoded."""
    alternatives: tuple[str, ...] = ()


class Conflict(msgspec.Struct, frozen=True):
    """A request that cannot be done as the document stands."""

    kind: Kind
    phrase: str = ""
    """For people."""
    ancestor: str = ""
    """URI of the closest parent that exists (no-parent)."""
    exists: tuple[Exists, ...] = ()
    """At least one for a uniqueness-failure."""


def build(conflict: Conflict) -> bytes:
    """The document of a conflict, application/xcap-error+xml (XDM-01)."""
    name = conflict.kind.value
    phrase = f" phrase={_attribute(conflict.phrase)}" if conflict.phrase else ""
    content = f"<ancestor>{escape(conflict.ancestor)}</ancestor>" if conflict.ancestor else ""
    content += "".join(map(_exists, conflict.exists))
    element = f"<{name}{phrase}>{content}</{name}>" if content else f"<{name}{phrase}/>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<xcap-error xmlns="{NAMESPACE}">{element}</xcap-error>\n'.encode()


def _exists(value: Exists) -> str:
    alternatives = "".join(f"<alt-value>{escape(one)}</alt-value>" for one in value.alternatives)
    field = _attribute(value.field)
    return f"<exists field={field}>{alternatives}</exists>" if alternatives else f"<exists field={field}/>"


def _attribute(text: str) -> str:
    return quoteattr("".join(character if character.isprintable() else " " for character in text))
