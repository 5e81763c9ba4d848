"""Messages to several recipients (clause 8.1.1-5, RFC 5365)."""

from __future__ import annotations

import pytest

from im_client.errors import MalformedMessageError
from im_client.multipart import split
from im_client.recipients import CopyControl, Recipient, build_list, parse_list

EVERYBODY = [
    Recipient("sip:bill@example.com"),
    Recipient("sip:joe@example.org", CopyControl.CC, anonymize=True),
    Recipient("sip:ted@example.net?Subject=x", CopyControl.BCC),
    Recipient("tel:+1234", None),
]
# of RFC 5365 section 9, in other words
HISTORY = b"""<?xml version="1.0"?>
<r:resource-lists xmlns:r="urn:ietf:params:xml:ns:resource-lists"
  xmlns:c="urn:ietf:params:xml:ns:copycontrol">
  <r:list><r:entry uri="sip:bill@example.com" c:copyControl="to"/>
  <r:entry uri="sip:anonymous@anonymous.invalid" c:copyControl="cc" c:count="2"/></r:list>
</r:resource-lists>"""
ENTITIES = b"""<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>
<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">
<list><entry uri="x&e;"/></list></resource-lists>"""


def test_list_there_and_back() -> None:
    document = build_list(EVERYBODY)
    assert parse_list(document) == EVERYBODY
    assert document.startswith(b"<?xml version='1.0' encoding='UTF-8'?>\n<resource-lists ")
    assert b'<entry uri="sip:joe@example.org" cp:copyControl="cc" cp:anonymize="true"/>' in document


def test_history_with_other_prefixes() -> None:
    assert parse_list(HISTORY) == [
        Recipient("sip:bill@example.com"),
        Recipient("sip:anonymous@anonymous.invalid", CopyControl.CC, count=2),
    ]


@pytest.mark.parametrize(
    "document",
    [b"", b"<a", b"<resource-lists/>", HISTORY.replace(b'"cc"', b'"xx"'), HISTORY[:-5], ENTITIES],
)
def test_malformed(document: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        parse_list(document)


def test_a_uri_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not a SIP URI"):
        build_list([Recipient("bob")])


@pytest.mark.requirement("CLI-05", "PAG-16")
async def test_message_to_many(stage) -> None:
    task = stage.start(
        stage.client.send_to_many(["sip:bob@example.com", EVERYBODY[1]], b"hi \xff", expires=5)
    )
    request = await stage.peer.expect("MESSAGE")
    assert str(request.message.uri) == "sip:conference-factory@example.com;session=adhoc"
    assert request.header("Require") == "recipient-list-message"
    content, listing = split(request.header("Content-Type"), request.message.body)
    assert content.body == b"hi \xff"
    assert content.content_type == "text/plain;charset=UTF-8"
    assert listing.disposition == "recipient-list"
    assert listing.media_type == "application/resource-lists+xml"
    assert [entry.uri for entry in parse_list(listing.body)] == ["sip:bob@example.com", "sip:joe@example.org"]
    request.reply(202, "Accepted")
    assert (await task).status == 202


async def test_who_else_got_it(udp_stage) -> None:
    await udp_stage.speak()
    body = b"--b\r\n\r\nhi\r\n--b\r\nContent-Type: application/resource-lists+xml\r\n"
    body += b"Content-Disposition: recipient-list-history;handling=optional\r\n\r\n" + HISTORY + b"\r\n--b--"
    udp_stage.peer.send(
        udp_stage.peer.request("MESSAGE", "Content-Type: multipart/mixed;boundary=b", body=body)
    )
    await udp_stage.peer.expect(200)
    message = await udp_stage.client.next_message()
    assert message.body == body
    assert message.parts[0].body == b"hi"
    assert [entry.uri for entry in message.other_recipients] == [
        "sip:bill@example.com",
        "sip:anonymous@anonymous.invalid",
    ]


@pytest.mark.parametrize("kind", ["text/plain", "multipart/mixed", "multipart/mixed;boundary=b"])
async def test_a_message_without_readable_parts_is_its_own_part(udp_stage, kind: str) -> None:
    await udp_stage.speak()
    udp_stage.peer.send(udp_stage.peer.request("MESSAGE", f"Content-Type: {kind}", body=b"x"))
    await udp_stage.peer.expect(200)
    message = await udp_stage.client.next_message()
    assert [(part.content_type, part.body) for part in message.parts] == [(kind, b"x")]
    assert message.other_recipients == []
