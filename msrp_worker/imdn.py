"""Instant message disposition notifications (RFC 5438): the XML payload and the header that asks for it
(PAG-21)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lxml import etree

from msrp_worker import content_types, cpim, safe_xml
from msrp_worker.cpim import IMDN_NAMESPACE, Envelope, Header
from msrp_worker.safe_xml import XmlError, text_of

CONTENT_TYPE = content_types.IMDN
NAMESPACE = "urn:ietf:params:xml:ns:imdn"

_TAG = f"{{{NAMESPACE}}}"


class Kind(Enum):
    """Which notification (RFC 5438 11.1.6)."""

    DELIVERY = "delivery-notification"
    PROCESSING = "processing-notification"
    DISPLAY = "display-notification"


class Status(Enum):
    """What became of the message (RFC 5438 11.1.7)."""

    DELIVERED = "delivered"
    FAILED = "failed"
    DISPLAYED = "displayed"
    PROCESSED = "processed"
    STORED = "stored"
    FORBIDDEN = "forbidden"
    ERROR = "error"


_COMMON = {Status.FORBIDDEN, Status.ERROR}
ALLOWED = {
    Kind.DELIVERY: {Status.DELIVERED, Status.FAILED} | _COMMON,
    Kind.PROCESSING: {Status.PROCESSED, Status.STORED} | _COMMON,
    Kind.DISPLAY: {Status.DISPLAYED} | _COMMON,
}
"""The statuses of each kind (RFC 5438 11.1.9)."""


class Request(Enum):
    """What Disposition-Notification can ask for (RFC 5438 7.1.1.3)."""

    POSITIVE_DELIVERY = "positive-delivery"
    NEGATIVE_DELIVERY = "negative-delivery"
    PROCESSING = "processing"
    DISPLAY = "display"


@dataclass(frozen=True, slots=True)
class Notification:
    """One IMDN. `kind` and `status` are None where the payload carries none that RFC 5438 defines."""

    message_id: str  # of the message reported on
    date_time: str  # when that message was sent, RFC 3339
    kind: Kind | None
    status: Status | None
    recipient_uri: str | None = None
    original_recipient_uri: str | None = None
    subject: str | None = None

    def build(self) -> bytes:
        """The payload. Raises ValueError for a status that its kind does not have."""
        if self.kind is None or self.status is None or self.status not in ALLOWED[self.kind]:
            raise ValueError("status does not belong to this notification")
        root = safe_xml.new_document(
            NAMESPACE,
            "imdn",
            (
                ("message-id", self.message_id),
                ("datetime", self.date_time),
                ("recipient-uri", self.recipient_uri),
                ("original-recipient-uri", self.original_recipient_uri),
                ("subject", self.subject),
            ),
        )
        status = etree.SubElement(etree.SubElement(root, _TAG + self.kind.value), f"{_TAG}status")
        etree.SubElement(status, _TAG + self.status.value)
        return safe_xml.serialise(root)


def parse(data: bytes) -> Notification:
    """Read a payload; extensions are ignored. Raises XmlError."""
    root = safe_xml.parse(data)
    if root.tag != f"{_TAG}imdn":
        raise XmlError("not an imdn document")
    message_id = text_of(root, f"{_TAG}message-id")
    if not message_id:
        raise XmlError("imdn without message-id")
    kind, status = _disposition(root)
    return Notification(
        message_id=message_id,
        date_time=text_of(root, f"{_TAG}datetime") or "",
        kind=kind,
        status=status,
        recipient_uri=text_of(root, f"{_TAG}recipient-uri"),
        original_recipient_uri=text_of(root, f"{_TAG}original-recipient-uri"),
        subject=text_of(root, f"{_TAG}subject"),
    )


def requested(header: str | None) -> frozenset[Request]:
    """What a Disposition-Notification value asks for; None, empty and unknown values ask for nothing."""
    words = {item.partition(";")[0].strip() for item in (header or "").split(",")}
    return frozenset(request for request in Request if request.value in words)


def wanted(header: str | None, kind: Kind, status: Status) -> bool:
    """Whether a sender asked for this notification."""
    asked = requested(header)
    if kind is Kind.DELIVERY:
        success = status is Status.DELIVERED
        return (Request.POSITIVE_DELIVERY if success else Request.NEGATIVE_DELIVERY) in asked
    return (Request.PROCESSING if kind is Kind.PROCESSING else Request.DISPLAY) in asked


def notify(
    original: Envelope, kind: Kind, status: Status, *, recipient: str, message_id: str
) -> tuple[Envelope, bytes] | None:
    """The message that reports on `original` on behalf of `recipient` (a URI): its envelope and its payload.
    None where the sender asked for none (PAG-21), and for a message that is an IMDN itself (RFC 5438 section
    7.2.1).

    `message_id`: new and unguessable (section 6.3). The message goes to the first IMDN-Route, else to To.
    Raises CpimError where `original` has no readable From.
    """
    about = original.message_id
    sender = original.sender
    if not about or not wanted(original.disposition_notification, kind, status):
        return None
    if sender is None or content_types.essence(original.content_type) == CONTENT_TYPE:
        return None
    headers = [
        Header("From", cpim.Address(recipient).build()),
        Header("To", sender.build()),
        Header("NS", f"imdn <{IMDN_NAMESPACE}>"),
        Header("imdn.Message-ID", message_id),
    ]
    # IMDN-Record-Route becomes IMDN-Route, in the same order (section 7.2.1)
    routes = original.all("IMDN-Record-Route", IMDN_NAMESPACE)
    headers += [Header("imdn.IMDN-Route", route.value) for route in routes]
    original_to = original.first("Original-To", IMDN_NAMESPACE)
    payload = Notification(
        message_id=about,
        date_time=original.date_time or "",
        kind=kind,
        status=status,
        recipient_uri=recipient,
        original_recipient_uri=cpim.parse_address(original_to).uri if original_to else None,
        subject=original.subject(),
    ).build()
    content = [("Content-Type", CONTENT_TYPE), ("Content-Disposition", "notification")]
    return cpim.build(headers, [*content, ("Content-Length", str(len(payload)))]), payload


def _disposition(root: etree._Element) -> tuple[Kind | None, Status | None]:
    for kind in Kind:
        status = root.find(f"{_TAG}{kind.value}/{_TAG}status")
        if status is None:
            continue
        for allowed in Status:
            if allowed in ALLOWED[kind] and status.find(_TAG + allowed.value) is not None:
                return kind, allowed
        return kind, None
    return None, None
