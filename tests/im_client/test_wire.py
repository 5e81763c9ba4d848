"""SIP messages to and from bytes."""

from __future__ import annotations

import pytest
from sipmessage import Headers, Request, Response

from im_client.errors import MalformedMessageError
from im_client.wire import (
    encode,
    parse,
    parse_cseq,
    parse_name_addr,
    parse_uri,
    parse_vias,
    split_outside_quotes,
    values,
)

BODY = bytes(range(256))
MESSAGE = (
    b"MESSAGE sip:alice@example.com;session=1-1 SIP/2.0\r\n"
    b"v: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\n"
    b'f: "B\xf6b" <sip:bob@example.com>;tag=1\r\n'
    b"t: <sip:alice@example.com>\r\n"
    b"i: 1@x\r\n"
    b"CSeq: 1 MESSAGE\r\n"
    b"Subject: first\r\n\tsecond\r\n"
    b"c: application/octet-stream\r\n"
    b"l: 256\r\n\r\n"
) + BODY


def test_a_message_with_any_bytes() -> None:
    message = parse(MESSAGE, datagram=True)
    assert isinstance(message, Request)
    assert message.body == BODY
    assert message.headers.get("Subject") == "first second"
    assert message.headers.get("Call-ID") == "1@x"
    assert b'From: "B\xf6b" <sip:bob@example.com>;tag=1\r\n' in encode(message)
    assert parse(encode(message), datagram=True).body == BODY


def test_bytes_beyond_content_length_are_dropped_from_a_datagram() -> None:
    assert parse(MESSAGE + b"\r\n\r\nrest", datagram=True).body == BODY


def test_without_content_length_the_datagram_ends_the_body() -> None:
    data = MESSAGE.replace(b"l: 256\r\n", b"") + b"!"
    assert parse(data, datagram=True).body == BODY + b"!"


@pytest.mark.parametrize(
    ("data", "status", "answerable"),
    [
        (b"", 400, False),
        (b"\r\n\r\n", 400, False),
        (b"hello", 400, False),
        (b"hello there\r\n\r\n", 400, False),
        (MESSAGE[:40], 400, False),
        (MESSAGE[:-1], 400, True),
        (MESSAGE.replace(b"l: 256", b"l: x"), 400, True),
        (MESSAGE.replace(b"l: 256", b"l: 256\r\nContent-Length: 3"), 400, True),
        (MESSAGE.replace(b"sip:alice@example.com;session", b"im:alice@example.com;session"), 416, True),
        (MESSAGE.replace(b"Subject: first", b"Subject first"), 400, False),
        (MESSAGE.replace(b"Subject:", b"Sub ject:"), 400, False),
        (MESSAGE.replace(b"SIP/2.0\r\n", b"SIP/3.0\r\n", 1), 400, False),
        (b"SIP/2.0 200 OK\r\n" + b"a:\r\n" * 501 + b"\r\n", 400, False),
        (b"SIP/2.0 999 What\r\n\r\n", 400, False),
        (b"SIP/2.0 20 What\r\n\r\n", 400, False),
        (b"\xff\xfe\x00" * 40, 400, False),
    ],
)
def test_malformed(data: bytes, status: int, answerable: bool) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        parse(data, datagram=True)
    assert caught.value.status == status
    assert (caught.value.request is not None) == answerable


@pytest.mark.parametrize("offset", range(len(MESSAGE)))
def test_a_datagram_cut_anywhere_is_malformed_and_nothing_else(offset: int) -> None:
    with pytest.raises(MalformedMessageError):
        parse(MESSAGE[:offset], datagram=True)


def test_response_without_reason() -> None:
    message = parse(b"SIP/2.0 200 \r\nl: 0\r\n\r\n", datagram=True)
    assert isinstance(message, Response)
    assert (message.code, message.phrase) == (200, "")


@pytest.mark.parametrize(
    ("name", "value"),
    [("Subject", "a\r\nVia: x"), ("Subject", "a\nb"), ("Subject", "a\0"), ("Sub ject", "x"), ("", "x")],
)
def test_nothing_is_smuggled_into_a_header(name: str, value: str) -> None:
    request = Request("MESSAGE", parse_uri("sip:a@h"))
    request.headers.add(name, value)
    with pytest.raises(ValueError, match=r"line break|invalid name"):
        encode(request)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a, b", ["a", "b"]),
        ('"a, b" <sip:x@h;p=1,2>, c', ['"a, b" <sip:x@h;p=1,2>', "c"]),
        ('"a\\", b", c', ['"a\\", b"', "c"]),
        ("", [""]),
    ],
)
def test_split_outside_quotes(text: str, expected: list[str]) -> None:
    assert list(split_outside_quotes(text, ",")) == expected


@pytest.mark.parametrize(
    ("text", "uri", "name", "parameters"),
    [
        ("<sip:a@h>", "sip:a@h", "", {}),
        ("sip:a@h;tag=1", "sip:a@h", "", {"tag": "1"}),
        (
            '"A; <b>" <sip:a@h;lr>;TAG=x;+g.oma.sip-im',
            "sip:a@h;lr",
            "A; <b>",
            {"tag": "x", "+g.oma.sip-im": None},
        ),
        (
            '<sip:a@h>;self=1;received="sip:1.2.3.4;transport=tcp"',
            "sip:a@h",
            "",
            {"self": "1", "received": "sip:1.2.3.4;transport=tcp"},
        ),
    ],
)
def test_name_addr(text: str, uri: str, name: str, parameters: dict[str, str | None]) -> None:
    found = parse_name_addr(text)
    assert (found.uri, found.name, found.parameters) == (uri, name, parameters)


@pytest.mark.parametrize("text", ["", "<>", "<sip:a@h", ";tag=1"])
def test_no_address(text: str) -> None:
    with pytest.raises(MalformedMessageError):
        parse_name_addr(text)


@pytest.mark.parametrize(
    ("text", "sent_by", "branch"),
    [
        ("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK@a;received=::1", ("10.0.0.1", 5070), "z9hG4bK@a"),
        ("SIP / 2.0 / UDP Host.Example ; rport ; Branch=z9hG4bK1", ("host.example", None), "z9hG4bK1"),
        ("SIP/2.0/TCP [2001:db8::1]:5060;branch=b", ("[2001:db8::1]", 5060), "b"),
        ("SIP/2.0/TCP h", ("h", None), ""),
    ],
)
def test_via(text: str, sent_by: tuple[str, int | None], branch: str) -> None:
    headers = Headers()
    headers.add("Via", f"{text}, SIP/2.0/UDP second;branch=2")
    via = parse_vias(headers)[0]
    assert (via.sent_by, via.branch, via.text) == (sent_by, branch, text)


@pytest.mark.parametrize("text", ["", "UDP h", "SIP/2.0/UDP", "SIP/2.0/UDP h:x", "SIP/2.0/UDP h:99999", "SIP/2.0/UDP h:0"])
def test_no_via(text: str) -> None:
    headers = Headers()
    headers.add("Via", text)
    with pytest.raises(MalformedMessageError):
        parse_vias(headers)


def test_values_of_several_lines() -> None:
    headers = Headers()
    headers.add("Require", "a, b")
    headers.add("Require", "c")
    assert values(headers, "require") == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["", "1", "x MESSAGE", "12345678901 MESSAGE"])
def test_no_cseq(text: str) -> None:
    headers = Headers()
    headers.add("CSeq", text)
    with pytest.raises(MalformedMessageError):
        parse_cseq(headers)


@pytest.mark.parametrize("text", ["alice", "im:alice@h", "sip:", "sip:a@h;self=1", "sip:a b@h"])
def test_no_uri(text: str) -> None:
    with pytest.raises(ValueError, match="not a SIP URI"):
        parse_uri(text)


def test_the_scheme_may_be_in_any_case() -> None:
    assert str(parse_uri("SIP:Alice@h")) == "sip:Alice@h"
