"""RFC 5438 payloads, and which are asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker import cpim
from msrp_worker.cpim import Address
from msrp_worker.imdn import ALLOWED, Kind, Notification, Request, Status, notify, parse, requested, wanted
from msrp_worker.safe_xml import XmlError

GOLDEN = (
    b"<?xml version='1.0' encoding='UTF-8'?>\n"
    b'<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>m1</message-id>'
    b"<datetime>2026-01-02T03:04:05Z</datetime><recipient-uri>im:bob@example.com</recipient-uri>"
    b"<delivery-notification><status><delivered/></status></delivery-notification></imdn>"
)


@pytest.mark.requirement("PAG-21")
def test_golden() -> None:
    notification = Notification(
        "m1", "2026-01-02T03:04:05Z", Kind.DELIVERY, Status.DELIVERED, recipient_uri="im:bob@example.com"
    )
    assert notification.build() == GOLDEN
    assert parse(GOLDEN) == notification


@pytest.mark.requirement("PAG-21")
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("status", Status)
def test_each_kind_has_its_statuses(kind: Kind, status: Status) -> None:
    notification = Notification("m", "t", kind, status, None, "im:list@example.com", "déjà")
    if status in ALLOWED[kind]:
        assert parse(notification.build()) == notification
    else:
        with pytest.raises(ValueError, match="status"):
            notification.build()


def test_extensions_prefixes_and_white_space_are_read() -> None:
    data = (
        b'<i:imdn xmlns:i="urn:ietf:params:xml:ns:imdn" xmlns:x="urn:x"><!-- c -->'
        b"<i:message-id> m </i:message-id><i:datetime>t</i:datetime><x:more><x:yet/></x:more>"
        b"<i:display-notification><i:status><i:displayed/><x:y/></i:status></i:display-notification></i:imdn>"
    )
    assert parse(data) == Notification("m", "t", Kind.DISPLAY, Status.DISPLAYED)


def test_unknown_status_is_none() -> None:
    assert parse(GOLDEN.replace(b"<delivered/>", b"<eaten/>")).status is None
    assert parse(GOLDEN.replace(b"delivery-notification", b"other")).kind is None


BOMB = (
    b'<!DOCTYPE imdn [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b'<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>&b;</message-id></imdn>'
)


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<imdn",
        b"\xff\xfe",
        b"<imdn/>",
        GOLDEN.replace(b"m1", b""),
        GOLDEN.replace(b":ns:imdn", b":ns:other"),
        BOMB,
        b'<!DOCTYPE imdn SYSTEM "file:///etc/passwd">' + GOLDEN.partition(b"\n")[2],
        b"<a>" * 2000,
        GOLDEN.replace(b"m1", b"m" * 70_000),
    ],
)
def test_refuses(data: bytes) -> None:
    with pytest.raises(XmlError) as caught:
        parse(data)
    assert caught.value.status == 400


@pytest.mark.requirement("PAG-21")
@pytest.mark.parametrize(
    ("header", "asked"),
    [
        (None, set()),
        ("", set()),
        ("positive-delivery", {Request.POSITIVE_DELIVERY}),
        (
            "positive-delivery , negative-delivery;x=1,display",
            {Request.POSITIVE_DELIVERY, Request.NEGATIVE_DELIVERY, Request.DISPLAY},
        ),
        ("processing, unheard-of", {Request.PROCESSING}),
    ],
)
def test_requests(header: str | None, asked: set[Request]) -> None:
    assert requested(header) == asked


@pytest.mark.requirement("PAG-21")
@pytest.mark.parametrize(
    ("header", "kind", "status", "due"),
    [
        ("positive-delivery", Kind.DELIVERY, Status.DELIVERED, True),
        ("positive-delivery", Kind.DELIVERY, Status.FAILED, False),
        ("negative-delivery", Kind.DELIVERY, Status.FAILED, True),
        ("negative-delivery", Kind.DELIVERY, Status.DELIVERED, False),
        ("display", Kind.DISPLAY, Status.DISPLAYED, True),
        ("display", Kind.PROCESSING, Status.STORED, False),
        ("processing", Kind.PROCESSING, Status.STORED, True),
    ],
)
def test_wanted(header: str, kind: Kind, status: Status, due: bool) -> None:
    assert wanted(header, kind, status) is due


@given(st.text(min_size=1), st.text(), st.none() | st.text())
def test_any_text_can_be_written(message_id: str, date_time: str, subject: str | None) -> None:
    data = Notification(message_id, date_time, Kind.DELIVERY, Status.FAILED, subject=subject).build()
    try:
        assert parse(data).status is Status.FAILED
    except XmlError:
        assert not message_id.strip() or not message_id.isprintable()


ORIGINAL = (
    b"From: Alice <sip:alice@example.com>\r\nTo: <sip:bob@example.com>\r\nNS: d <urn:ietf:params:imdn>\r\n"
    b"d.Message-ID: m1\r\nDateTime: 2026-01-02T03:04:05Z\r\nd.Disposition-Notification: positive-delivery\r\n"
    b"d.IMDN-Record-Route: <sip:one@example.com>\r\nd.IMDN-Record-Route: <sip:two@example.com>\r\n"
    b"d.Original-To: <sip:list@example.com>\r\nSubject: s\r\n\r\nContent-Type: text/plain\r\n\r\n"
)


@pytest.mark.requirement("PAG-21")
def test_notification_of_delivery() -> None:
    original, _ = cpim.parse(ORIGINAL)
    made = notify(original, Kind.DELIVERY, Status.DELIVERED, recipient="sip:bob@example.com", message_id="n1")
    assert made is not None
    envelope, payload = made
    assert envelope.head == (
        b'From: <sip:bob@example.com>\r\nTo: "Alice" <sip:alice@example.com>\r\n'
        b"NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: n1\r\n"
        b"imdn.IMDN-Route: <sip:one@example.com>\r\nimdn.IMDN-Route: <sip:two@example.com>\r\n\r\n"
        b"Content-Type: message/imdn+xml\r\nContent-Disposition: notification\r\n"
        b"Content-Length: %d\r\n\r\n"
    ) % len(payload)
    assert parse(payload) == Notification(
        "m1",
        "2026-01-02T03:04:05Z",
        Kind.DELIVERY,
        Status.DELIVERED,
        "sip:bob@example.com",
        "sip:list@example.com",
        "s",
    )
    assert envelope.sender == Address("sip:bob@example.com")


@pytest.mark.requirement("PAG-21")
@pytest.mark.parametrize(
    ("old", "new", "kind", "status"),
    [
        (b"", b"", Kind.DELIVERY, Status.FAILED),  # not asked for
        (b"", b"", Kind.DISPLAY, Status.DISPLAYED),
        (b"text/plain", b"message/imdn+xml", Kind.DELIVERY, Status.DELIVERED),
        (b"d.Message-ID: m1\r\n", b"", Kind.DELIVERY, Status.DELIVERED),
        (b"From: Alice <sip:alice@example.com>\r\n", b"", Kind.DELIVERY, Status.DELIVERED),
    ],
)
def test_no_notification(old: bytes, new: bytes, kind: Kind, status: Status) -> None:
    original, _ = cpim.parse(ORIGINAL.replace(old, new) if old else ORIGINAL)
    assert notify(original, kind, status, recipient="sip:bob@example.com", message_id="n1") is None
