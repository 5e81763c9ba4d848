"""A user's service settings: the document that devices publish (Appendix E, RFC 4354), and what several of them amount to.

Pure: a document goes in as bytes, settings come out, and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

import msgspec
from lxml import etree

from kemi.messages import LARGEST_SETTINGS
from msrp_worker import safe_xml

DEEPEST_ELEMENT = 16
"""Nesting of elements: settings need four, the rest is room for extensions."""
LONGEST_ENTITY = 255
"""Characters kept of the name that a device gives itself."""

POC_SETTINGS: Final = "urn:oma:params:xml:ns:poc:poc-settings"
SERVICE_SETTINGS: Final = "urn:oma:params:xml:ns:service-settings"
LATER_SERVICE_SETTINGS: Final = "urn:oma:xml:im:service-settings"
KNOWN_NAMESPACES: Final = frozenset({POC_SETTINGS, SERVICE_SETTINGS, LATER_SERVICE_SETTINGS})
"""Namespaces of a setting and of what is in it; elements and attributes of all others are ignored (E.1.1)."""
SERVICE_ID: Final = "IM"
"""Value of service-id for this service; a setting without one is ours (E.1.2)."""

SESSION_MODE: Final = "session-mode"
PAGER_LARGE_MODE: Final = "pager-large-mode"


class SettingsError(ValueError):
    """The document is not one of service settings; the text says why."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a document says; None: it does not speak of that."""

    session_barred: bool | None = None
    """isb-settings: incoming sessions are refused."""
    pager_barred: bool | None = None
    """ipab-settings: incoming pager mode messages are refused."""
    offline_delivery: bool | None = None
    """deferred-settings: stored messages are pushed when the user is there again."""
    visible: bool | None = None
    """vis-settings: others may see the user."""
    session_history: bool | None = None
    """hist-settings, session-mode: sessions are recorded."""
    message_history: bool | None = None
    """hist-settings, pager-large-mode: pager mode and large messages are recorded."""


class Document(msgspec.Struct, frozen=True):
    """A parsed document."""

    entity: str
    """The device, as it names itself; for the operator to tell devices apart."""
    settings: Settings


NAMES: Final = Settings.__struct_fields__
"""The settings, in the order of the document."""

# Setting element, element in it, and the fields that its attribute `active` decides (table 1 of E.1.2).
_ELEMENTS: Final = (
    ("isb-settings", ("incoming-session-barring",), ("session_barred",)),
    ("ipab-settings", ("incoming-personal-alert-barring",), ("pager_barred",)),
    ("deferred-settings", ("offline-delivery",), ("offline_delivery",)),
    ("vis-settings", ("vis-status", "visibility-status"), ("visible",)),  # SET-05: schema and example differ
    ("hist-settings", ("hist-activation",), ("session_history", "message_history")),
)
_BY_SETTING: Final = {setting: (names, fields) for setting, names, fields in _ELEMENTS}
_BY_TYPE: Final = {SESSION_MODE: ("session_history",), PAGER_LARGE_MODE: ("message_history",)}
_PREFIXES: Final = cast("dict[str, str]", {None: POC_SETTINGS, "ss": SERVICE_SETTINGS})
"""The stubs of lxml do not know the default namespace."""
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}  # xs:boolean


def compose(in_order: Iterable[Settings]) -> Settings:
    """Settings of several publications, the last published last: for each setting the last that speaks of it decides."""
    merged: dict[str, bool] = {}
    for settings in in_order:
        merged |= {name: value for name in NAMES if (value := getattr(settings, name)) is not None}
    return Settings(**merged)


def parse_settings(document: bytes) -> Document:
    """The settings in a document. SettingsError says what is wrong with it (SET-05, SEC-05).

    Several entities in one document are read as one; RFC 4354 section 5.14 asks devices to send only one.
    """
    try:
        root = safe_xml.parse(document, LARGEST_SETTINGS, DEEPEST_ELEMENT)
    except safe_xml.XmlError as error:
        raise SettingsError(str(error)) from None
    if root.tag != f"{{{POC_SETTINGS}}}poc-settings":
        raise SettingsError(f"the root is {root.tag}, not poc-settings of {POC_SETTINGS}")
    entities = [child for child in root if child.tag == f"{{{POC_SETTINGS}}}entity"]
    name = next((entity.get("id", "") for entity in entities), "")
    settings = compose(_setting(element) for entity in entities for element in entity)
    return Document(name[:LONGEST_ENTITY], settings)


def build_settings(document: Document) -> bytes:
    """The document of some settings, in the namespaces and names of the normative schema (E.1.3, RFC 4354 section 6.1)."""
    root = etree.Element(f"{{{POC_SETTINGS}}}poc-settings", nsmap=_PREFIXES)
    entity = etree.SubElement(root, f"{{{POC_SETTINGS}}}entity", id=document.entity)
    for setting, names, fields in _ELEMENTS:
        values = {name: value for name in fields if (value := getattr(document.settings, name)) is not None}
        if not values:
            continue
        namespace = POC_SETTINGS if setting in ("isb-settings", "ipab-settings") else SERVICE_SETTINGS
        parent = etree.SubElement(entity, f"{{{namespace}}}{setting}", {"service-id": SERVICE_ID})
        for value, kind in _activations(fields, values):
            child = etree.SubElement(parent, f"{{{namespace}}}{names[0]}", active="true" if value else "false")
            if kind:
                child.set("type", kind)
    return safe_xml.serialise(root)


def _activations(fields: tuple[str, ...], values: dict[str, bool]) -> list[tuple[bool, str]]:
    """Each value with its type; one without type where it stands for all fields."""
    if len(values) == len(fields) and len(set(values.values())) == 1:
        return [(values[fields[0]], "")]
    return [(values[name], kind) for kind, names in _BY_TYPE.items() for name in names if name in values]


def _setting(element: etree._Element) -> Settings:
    """What one child of an entity says; nothing when it is of another namespace, kind or service."""
    found = _BY_SETTING.get(_known_name(element))
    if found is None or _attribute(element, "service-id").strip() not in ("", SERVICE_ID):  # SET-05
        return Settings()
    names, fields = found
    said: dict[str, bool] = {}
    for child in element:
        if _known_name(child) in names:
            active = _active(child)
            said |= dict.fromkeys(_fields_of_type(child, fields), active)
    return Settings(**said)


def _fields_of_type(element: etree._Element, fields: tuple[str, ...]) -> tuple[str, ...]:
    """The fields an element decides: those of its type where it may have one (hist-activation), none of a strange type."""
    kind = _attribute(element, "type").strip()
    return fields if len(fields) == 1 or not kind else _BY_TYPE.get(kind, ())


def _active(element: etree._Element) -> bool:
    word = _attribute(element, "active").strip()
    if word not in _BOOLEANS:
        name = etree.QName(element).localname
        raise SettingsError(f"{name}: active is {word!r}, expected true or false")
    return _BOOLEANS[word]


def _known_name(element: etree._Element) -> str:
    """Local name of an element of a known namespace, else nothing."""
    name = etree.QName(element)
    return name.localname if name.namespace in KNOWN_NAMESPACES else ""


def _attribute(element: etree._Element, name: str) -> str:
    """Value of an attribute without a namespace, or of a known one: the schema declares service-id in its own."""
    for key, value in element.attrib.items():
        found = etree.QName(key)
        if found.localname == name and (found.namespace is None or found.namespace in KNOWN_NAMESPACES):
            return str(value)
    return ""
