"""The IM service settings document (Appendix E; RFC 4354 section 4). Pure.

Namespaces are those of `design.md` 6: settings of PoC in their own, those of IM in the one of E.1.3.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import cast

from lxml import etree

from .errors import MalformedMessageError

CONTENT_TYPE = "application/poc-settings+xml"
EVENT = "poc-settings"
POC_NAMESPACE = "urn:oma:params:xml:ns:poc:poc-settings"
IM_NAMESPACE = "urn:oma:params:xml:ns:service-settings"
LATER_NAMESPACE = "urn:oma:xml:im:service-settings"
SERVICE_ID = "IM"
"""Appendix E.1.2: the value registered at OMNA."""

# The stubs of lxml do not know None, which stands for the default namespace.
_PREFIXES = cast("dict[str, str]", {None: POC_NAMESPACE, "ss": IM_NAMESPACE})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """The settings of Appendix E.1.2 table 1, with their defaults there. None: leave it to the server."""

    bar_sessions: bool | None = False  # incoming-session-barring
    bar_pager: bool | None = False  # incoming-personal-alert-barring
    offline_delivery: bool | None = False  # push deferred messages at registration
    visible: bool | None = True  # visibility-status
    store_history: bool | None = False  # hist-activation


# field: (namespace, element of the setting, its child); the first child name is written, all are read
_PLACES = {
    "bar_sessions": (POC_NAMESPACE, "isb-settings", ("incoming-session-barring",)),
    "bar_pager": (POC_NAMESPACE, "ipab-settings", ("incoming-personal-alert-barring",)),
    "offline_delivery": (IM_NAMESPACE, "deferred-settings", ("offline-delivery",)),
    "visible": (IM_NAMESPACE, "vis-settings", ("vis-status", "visibility-status")),
    "store_history": (IM_NAMESPACE, "hist-settings", ("hist-activation",)),
}


def build(settings: ServiceSettings, entity: str) -> bytes:
    """The document to publish; `entity` names this client (RFC 4354: one per device). CLI-01"""
    root = etree.Element(f"{{{POC_NAMESPACE}}}poc-settings", nsmap=_PREFIXES)
    inside = etree.SubElement(root, f"{{{POC_NAMESPACE}}}entity", id=entity)
    for name, (namespace, element, children) in _PLACES.items():
        value = getattr(settings, name)
        if value is not None:
            setting = etree.SubElement(inside, f"{{{namespace}}}{element}", {"service-id": SERVICE_ID})
            etree.SubElement(setting, f"{{{namespace}}}{children[0]}", active="true" if value else "false")
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def parse(document: bytes) -> ServiceSettings:
    """The settings in a document; those it does not hold are None. Raises MalformedMessageError."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(document, parser)
    except etree.XMLSyntaxError as error:
        raise MalformedMessageError(f"not a settings document: {error}") from None
    found: dict[str, bool | None] = {field.name: None for field in fields(ServiceSettings)}
    for name, (namespace, element, children) in _PLACES.items():
        spaces = (namespace,) if namespace == POC_NAMESPACE else (IM_NAMESPACE, LATER_NAMESPACE)
        for space in spaces:
            for setting in root.iter(f"{{{space}}}{element}"):
                if setting.get("service-id", SERVICE_ID) == SERVICE_ID:
                    found[name] = _active(setting, space, children) if found[name] is None else found[name]
    return ServiceSettings(**found)


def _active(setting: etree._Element, namespace: str, children: tuple[str, ...]) -> bool | None:
    for child in children:
        element = setting.find(f"{{{namespace}}}{child}")
        if element is not None:
            return element.get("active", "").strip() in ("true", "1")
    return None
