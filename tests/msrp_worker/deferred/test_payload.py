"""Golden bytes: the worked examples of Appendix J, and what must not change on the way (DEF-04)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from msrp_worker import cpim
from msrp_worker.deferred.payload import (
    Form,
    FormPolicy,
    StoredSession,
    form_of,
    payload_of,
    read_session,
    session_bytes,
    with_headers,
)
from msrp_worker.store import DeferredMessage

GOLDEN = Path(__file__).parent / "golden"
EVERY_BYTE = bytes(range(256))
PLAIN = DeferredMessage(
    message_id="452@imserver.com",
    recipient="sip:user2@imserver.com",
    originator="sip:user1@imserver.com",
    private=False,
    anonymous=False,
    call_id="asd88asd77a@1.2.3.4",
    cseq=1,
    from_tag="49583",
    received=datetime(2002, 2, 21, 13, 2, 3, tzinfo=UTC).timestamp(),
    expires=None,
    size=0,
    content_type="text/plain",
    subject="",
    priority="",
    from_header="sip:user1@imserver.com;tag=49583",
    to_header="sip:user2@imserver.com",
    content_path=None,
    message=(GOLDEN / "j1-stored.sip").read_bytes(),
)
PRIVATE = msgspec.structs.replace(PLAIN, private=True)


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


@pytest.mark.requirement("DEF-04")
@pytest.mark.parametrize(
    ("message", "form", "content_type", "expected"),
    [
        (PRIVATE, Form.SIP, "message/sip", "j1-pushed.sip"),
        (PLAIN, Form.SIP, "message/sip", "j1-asserted.sip"),
        (PRIVATE, Form.MIXED, 'multipart/mixed; boundary="im-452-imserver-com"', "j1-mixed.txt"),
        (PLAIN, Form.CPIM, "message/cpim", "j1-cpim.txt"),
    ],
)
def test_the_first_example_of_appendix_j(message: DeferredMessage, form: Form, content_type: str, expected: str) -> None:
    payload = payload_of(message, form)
    assert (payload.content_type, payload.head, payload.tail) == (content_type, golden(expected), b"")


@pytest.mark.requirement("DEF-04")
def test_the_second_example_of_appendix_j() -> None:
    session = StoredSession(
        invite=golden("j2-invite.sip"),
        ok=golden("j2-ok.sip"),
        send=golden("j2-send.msrp"),
        end=golden("j2-end.msrp"),
        bye=golden("j2-bye.sip"),
        content_type="text/plain",
        boundary="boundary42",
    )
    stored = session_bytes(session)
    assert read_session(stored) == session
    received = datetime(2005, 2, 21, 13, 2, 3, tzinfo=UTC).timestamp()
    message = msgspec.structs.replace(PLAIN, message=stored, content_path="large/1", received=received)
    payload = payload_of(message, Form.SIP)
    assert payload.content_type == 'multipart/mixed; boundary="boundary42"'
    assert payload.head + b"Hi, Alice!  I'm Bob!" + payload.tail == golden("j2-pushed.txt")
    envelope, rest = cpim.parse(payload_of(message, Form.CPIM).head)
    assert (envelope.content_type, rest) == ("text/plain", b"")


def test_what_is_stored_for_a_session_and_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="malformed"):
        payload_of(msgspec.structs.replace(PLAIN, content_path="large/1"), Form.SIP)


ODD = (
    b"MESSAGE sip:a@x SIP/2.0\n"  # a lone LF here, CRLF below
    b"f: \xc3\x9c \xe9 <sip:b@x>;tag=1\r\n"
    b"i : call\r\n"
    b"Subject: one\r\n\t and two\r\n"
    b"p-asserted-identity: <sip:forged@x>,\r\n <tel:+1>\r\n"
    b"P-Preferred-Identity: <sip:forged@x>\r\n"
    b"X-Date: Date: here\r\n"
    b"X-Empty:\r\n"
    b"x-Empty:  \r\n"
)


@pytest.mark.requirement("DEF-04", "IDN-02")
@pytest.mark.parametrize("body", [b"", EVERY_BYTE, b"\r\n\r\nDate: no\r\n", b"\n\n"])
@pytest.mark.parametrize("date", [b"", b"DATE  : Mon, 01 Jan 2001 00:00:00 GMT\r\n", b"Date: a,\r\n b\r\nDate: twice\r\n"])
def test_every_other_byte_stays(body: bytes, date: bytes) -> None:
    """Compact and folded headers, other charsets, mixed line ends; asserted identities of the sender do not go on."""
    stored = ODD.replace(b"X-Date", date + b"X-Date") + b"\r\n" + body
    added = b"Date: now\r\nP-Asserted-Identity: <sip:b@x>\r\n"
    start, rest = ODD.split(b"p-asserted", 1)
    rest = rest[rest.index(b"X-Date") :]
    start, call_id, subject = start.partition(b"i : call\r\n")
    between = (subject, added) if date else (added, subject)
    expected = start + call_id + b"".join(between) + rest
    assert with_headers(stored, "now", "P-Asserted-Identity: <sip:b@x>") == expected + b"\r\n" + body


@pytest.mark.parametrize("stored", [b"", b"MESSAGE sip:a@x SIP/2.0\r\n", b"garbage", b"\r\n\r\nbody"])
def test_what_is_no_message_does_not_break_it(stored: bytes) -> None:
    with_headers(stored, "now")


@pytest.mark.requirement("IDN-04", "DEF-04")
@pytest.mark.parametrize("form", list(Form))
def test_the_identity_that_was_asked_to_be_kept_is_not_added(form: Form) -> None:
    stored = PRIVATE.message.replace(b"sip:user1@imserver.com", b"sip:anonymous@anonymous.invalid")
    payload = payload_of(msgspec.structs.replace(PRIVATE, message=stored), form)
    assert b"user1@imserver.com" not in payload.head
    if form is Form.CPIM:
        assert cpim.parse(payload.head)[0].sender == cpim.Address("sip:anonymous@anonymous.invalid")


@pytest.mark.requirement("DEF-04")
def test_a_boundary_in_the_content_is_avoided() -> None:
    body = b"--im-452-imserver-com\r\n--im-452-imserver-com-1\r\n"
    payload = payload_of(msgspec.structs.replace(PLAIN, message=PLAIN.message + body), Form.MIXED)
    assert payload.content_type == 'multipart/mixed; boundary="im-452-imserver-com-2"'
    assert payload.head.count(b"--im-452-imserver-com-2") == 2


@pytest.mark.requirement("DEF-04")
def test_an_envelope_that_came_goes_on_as_it_is() -> None:
    body = b"From: <sip:b@x>\r\nTo: <sip:a@x>\r\n\r\nContent-Type: text/plain\r\n\r\n" + EVERY_BYTE
    head, blank, _ = PLAIN.message.partition(b"\r\n\r\n")
    kind = "Message/CPIM"
    message = msgspec.structs.replace(PLAIN, content_type=kind, message=head + blank + body, subject="x\r\ny")
    payload = payload_of(message, Form.CPIM)
    assert (payload.content_type, payload.head) == (kind, body)


def test_a_subject_and_a_folded_type_go_into_the_envelope() -> None:
    message = msgspec.structs.replace(PLAIN, subject="tea\tnow", content_type="text/plain;\r\n charset=utf-8")
    envelope, _ = cpim.parse(payload_of(message, Form.CPIM).head)
    assert (envelope.subject(), envelope.content_type) == ("tea\tnow", "text/plain; charset=utf-8")


CPM = '<sip:a@1.2.3.4>;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session"'
IM = "<sip:a@1.2.3.4>;+g.oma.sip-im"


@pytest.mark.requirement("DEF-04")
@pytest.mark.parametrize(
    ("policy", "accepts", "contact", "agent", "form"),
    [
        (FormPolicy.AUTO, ("*",), IM, "IM-client/OMA1.0 x", Form.SIP),
        (FormPolicy.AUTO, ("text/plain", "message/*"), IM, "", Form.SIP),
        (FormPolicy.AUTO, ("multipart/*",), IM, "", Form.MIXED),
        (FormPolicy.AUTO, ("message/cpim",), IM, "", Form.CPIM),
        (FormPolicy.AUTO, ("text/plain",), IM, "", Form.SIP),
        (FormPolicy.AUTO, ("*",), CPM, "", Form.CPIM),
        (FormPolicy.AUTO, ("message/sip",), CPM, "", Form.SIP),
        (FormPolicy.SIP, ("message/cpim",), CPM, "", Form.SIP),
        (FormPolicy.CPIM, ("*",), IM, "", Form.CPIM),
    ],
)
def test_the_form_follows_the_client(
    policy: FormPolicy, accepts: tuple[str, ...], contact: str, agent: str, form: Form
) -> None:
    assert form_of(policy, accepts, contact, agent) is form
