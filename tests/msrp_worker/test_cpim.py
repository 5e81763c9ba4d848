"""RFC 3862: envelopes read from bytes cut anywhere, kept as they are, and written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker import cpim
from msrp_worker.cpim import (
    IMDN_NAMESPACE,
    Address,
    CpimError,
    Header,
    HeadReader,
    build,
    compose,
    escape,
    parse,
    parse_address,
    unescape,
)

BODY = b"\x00\xff\r\n\r\nFrom: not a header"
MESSAGE = (
    b"From: MR SANDERS <im:piglet@forest.example>\r\n"
    b"To: Depressed Donkey <im:eeyore@forest.example>\r\n"
    b"To: <im:owl@forest.example>\r\n"
    b"cc: <im:pooh@forest.example>\r\n"
    b"DateTime: 2000-12-13T13:40:00-08:00\r\n"
    b"Subject: the weather will be fine today\r\n"
    b"Subject:;lang=fr beau temps pr\xc3\xa9vu \\u0041\\\\\r\n"
    b"NS: MyFeatures <mid:MessageFeatures@id.example.com>\r\n"
    b"Require: MyFeatures.VitalMessageOption\r\n"
    b"MyFeatures.VitalMessageOption: Confirmation-requested\r\n"
    b"NS: d <urn:ietf:params:imdn>\r\n"
    b"d.Message-ID: 34jk324j\r\n"
    b"d.Disposition-Notification: positive-delivery, display\r\n"
    b"\r\n"
    b"Content-type: text/xml; charset=utf-8\r\n"
    b"Content-ID: <1234567890@example.com>\r\n"
    b"\r\n"
) + BODY


def test_reads_everything_and_keeps_the_bytes() -> None:
    envelope, body = parse(MESSAGE)
    assert body == BODY
    assert envelope.head + body == MESSAGE
    assert envelope.sender == Address("im:piglet@forest.example", "MR SANDERS")
    assert [to.uri for to in envelope.recipients] == ["im:eeyore@forest.example", "im:owl@forest.example"]
    assert [cc.uri for cc in envelope.copies] == ["im:pooh@forest.example"]
    assert envelope.date_time == "2000-12-13T13:40:00-08:00"
    assert envelope.subject() == "the weather will be fine today"
    assert envelope.subject("fr") == "beau temps prévu A\\"
    assert envelope.subject("de") == envelope.subject()
    assert envelope.content_type == "text/xml; charset=utf-8"
    assert envelope.content_header("content-id") == "<1234567890@example.com>"


@pytest.mark.requirement("PAG-21")
def test_imdn_headers_under_any_prefix() -> None:
    envelope, _ = parse(MESSAGE)
    assert envelope.message_id == "34jk324j"
    assert envelope.disposition_notification == "positive-delivery, display"
    undeclared, _ = parse(MESSAGE.replace(b"NS: d <urn:ietf:params:imdn>\r\n", b""))
    assert undeclared.message_id is None


def test_namespaces_begin_with_their_declaration_and_default_can_change() -> None:
    head = b"x.a: 1\r\nNS: x <urn:one>\r\nx.a: 2\r\nNS: x <urn:two>\r\nx.a: 3\r\nNS: <urn:three>\r\na: 4\r\nFrom: <im:x>"
    envelope, _ = parse(head + b"\r\n\r\n\r\n")
    assert [(ns, local, header.value) for ns, local, header in envelope.named() if local == "a"] == [
        ("", "a", "1"),
        ("urn:one", "a", "2"),
        ("urn:two", "a", "3"),
        ("urn:three", "a", "4"),
    ]
    assert envelope.sender is None  # it is a header of urn:three
    for declaration in (b"NS:<urn:x>", b'NS:;a="b c" <urn:x>', b"NS:  <urn:x>"):
        other, _ = parse(declaration + b"\r\nFrom: <im:x>\r\n\r\n\r\n")
        assert other.sender is None
    prefixed, _ = parse(b"NS: y <urn:x>\r\nFrom: <im:x>\r\n\r\n\r\n")
    assert prefixed.sender == Address("im:x")


def test_requirements() -> None:
    envelope, _ = parse(MESSAGE)
    assert envelope.unknown_requirements() == ["MyFeatures.VitalMessageOption"]
    known = ["mid:MessageFeatures@id.example.comVitalMessageOption"]
    assert envelope.unknown_requirements(known) == []
    own, _ = parse(b"Require: Subject, To\r\n\r\n\r\n")
    assert own.unknown_requirements() == []


@pytest.mark.requirement("IDN-04")
def test_privacy_replaces_the_sender_and_nothing_else() -> None:
    envelope, _ = parse(MESSAGE)
    hidden = envelope.anonymised("sip:anon-7@anonymous.invalid")
    assert b"piglet" not in hidden.head
    assert b"SANDERS" not in hidden.head
    assert hidden.head == MESSAGE[: -len(BODY)].replace(
        b"From: MR SANDERS <im:piglet@forest.example>",
        b'From: "Anonymous" <sip:anon-7@anonymous.invalid>',
    ).replace(b"Content-type", b"Content-type")
    again, _ = parse(hidden.head)
    assert again.sender == Address("sip:anon-7@anonymous.invalid", "Anonymous")


def test_every_cut_gives_the_same() -> None:
    expected, body = parse(MESSAGE)
    for size in range(1, len(MESSAGE)):
        reader = HeadReader()
        for start in range(0, len(MESSAGE), size):
            found = reader.feed(MESSAGE[start : start + size])
            if found is not None:
                rest = found[1] + MESSAGE[start + size :]
                assert (found[0], rest) == (expected, body)
                break
        else:
            pytest.fail(f"not complete in pieces of {size}")


@pytest.mark.parametrize(
    ("data", "content_type", "body"),
    [
        (b"From: <im:a>\r\n\r\n\r\nx", "text/plain", b"x"),
        (b"From: <im:a>\n\nContent-Type: a/b\n\nx", "a/b", b"x"),
        (b"From: <im:a>\n\n\nx", "text/plain", b"x"),
        (b"From: <im:a>\n\nContent-Type: a/b\n\n\r\nx", "a/b", b"\r\nx"),
        (b"From: <im:a>\r\n\r\nContent-Type:\r\n a/b;\r\n\tc=d\r\n\r\n", "a/b; c=d", b""),
        (b"From:<im:a>\r\n\r\nContent-Type : a/b\r\n\r\n", "a/b", b""),
    ],
)
def test_liberal_reading(data: bytes, content_type: str, body: bytes) -> None:
    envelope, rest = parse(data)
    assert (envelope.content_type, rest) == (content_type, body)
    assert envelope.sender == Address("im:a")


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"From: <im:a>\r\n", 400),
        (b"From: <im:a>\r\n\r\n", 400),
        (b"From: <im:a>\r\n\r\nContent-Type: a/b\r\n", 400),
        (b"no header\r\n\r\n\r\n", 400),
        (b"\nFrom: <im:a>\n\n\nx", 400),
        (b"Fr\xe9: x\r\n\r\n\r\n", 400),
        (b"From: \xff\r\n\r\n\r\n", 400),
        (b"a.b.c: x\r\n\r\n\r\n", 400),
        (b"From: <im:a>\r\n\r\nno header\r\n\r\n", 400),
        (b"From: <im:a>\r\n" * 300 + b"\r\n\r\n", 413),
        (b"X: " + b"x" * cpim.MAX_HEAD_BYTES + b"\r\n\r\n\r\n", 400),
    ],
)
def test_refuses(data: bytes, status: int) -> None:
    with pytest.raises(CpimError) as caught:
        parse(data)
    assert caught.value.status == status


@pytest.mark.requirement("SEC-05")
def test_reader_holds_no_more_than_its_limit() -> None:
    reader = HeadReader()
    with pytest.raises(CpimError) as caught:
        for _ in range(cpim.MAX_HEAD_BYTES // 1024 + 1):
            assert reader.feed(b"X" * 1024) is None
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("<im:a@b>", Address("im:a@b")),
        ("A B <im:a@b>", Address("im:a@b", "A B")),
        ('"A \\"B\\" C"<im:a@b>', Address("im:a@b", 'A "B" C')),
        ("im:a@b", Address("im:a@b")),
        ("sip:a@b;user=phone", Address("sip:a@b;user=phone")),
        ('"" <sip:a@b>', Address("sip:a@b")),
    ],
)
def test_addresses(value: str, address: Address) -> None:
    assert parse_address(value) == address


@pytest.mark.parametrize("value", ["", "<>", "Alice", "<im:a", '"x <im:a>', "<im:a> <im:b>", "<im:a b>"])
def test_malformed_addresses(value: str) -> None:
    with pytest.raises(CpimError):
        parse_address(value)


def test_several_senders_are_an_error() -> None:
    envelope, _ = parse(b"From: <im:a>\r\nFrom: <im:b>\r\n\r\n\r\n")
    with pytest.raises(CpimError):
        _ = envelope.sender


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        ("a\\\\b", "a\\b"),
        ("\\b\\t\\n\\r\\\"\\'", "\b\t\n\r\"'"),
        ("\\u00e9\\u0001", "é\x01"),
        ("\\q\\u12", "qu12"),
        ("end\\", "end"),
    ],
)
def test_unescape(escaped: str, text: str) -> None:
    assert unescape(escaped) == text


@given(st.text(st.characters(codec="utf-8")))
def test_escape_round_trips_and_is_one_line(text: str) -> None:
    escaped = escape(text)
    assert unescape(escaped) == text
    assert not any(ord(character) < 0x20 or character == "\x7f" for character in escaped)


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ([Header("From", "<im:a>\r\nTo: <im:b>")], []),
        ([Header("Fr om", "<im:a>")], []),
        ([Header("", "x")], []),
        ([Header("Subject", "x", "lang=fr")], []),
        ([], [("Content-Type", "a/b\r\nX: y")]),
        ([], [("Content Type", "a/b")]),
    ],
)
def test_no_header_injection(headers: list[Header], content: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match=r"header|character"):
        build(headers, content)


@pytest.mark.requirement("PAG-21")
def test_composed_message_is_golden() -> None:
    envelope = compose(
        Address("sip:alice@example.com", 'Al "ice"'),
        [Address("sip:room@example.com")],
        "text/plain; charset=utf-8",
        date_time="2026-01-02T03:04:05Z",
        subject="a\tb",
        message_id="m1",
        disposition_notification="positive-delivery",
        content_headers=[("Content-Disposition", "attachment")],
    )
    assert envelope.head == (
        b'From: "Al \\"ice\\"" <sip:alice@example.com>\r\n'
        b"To: <sip:room@example.com>\r\n"
        b"DateTime: 2026-01-02T03:04:05Z\r\n"
        b"Subject: a\\tb\r\n"
        b"NS: imdn <urn:ietf:params:imdn>\r\n"
        b"imdn.Message-ID: m1\r\n"
        b"imdn.Disposition-Notification: positive-delivery\r\n"
        b"\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Disposition: attachment\r\n"
        b"\r\n"
    )
    again, rest = parse(envelope.head + b"hi")
    assert again == envelope
    assert rest == b"hi"
    assert again.first("Message-ID", IMDN_NAMESPACE) == "m1"


_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


@given(_TEXT, _TEXT, st.binary(max_size=50), st.integers(0, 400))
def test_composed_messages_round_trip(name: str, subject: str, body: bytes, cut: int) -> None:
    envelope = compose(Address("im:a@b", name), [Address("im:c@d", name)], "a/b", subject=subject)
    whole = envelope.head + body
    reader = HeadReader()
    found = reader.feed(whole[:cut])
    rest = whole[cut:]
    if found is None:
        found = reader.feed(rest)
        rest = b""
    assert found is not None
    assert found[0].sender == Address("im:a@b", name)
    assert found[0].subject() == subject
    assert found[1] + rest == body


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    for data in (noise, MESSAGE[:60] + noise, MESSAGE.replace(b"eeyore", noise), noise + MESSAGE):
        try:
            envelope, body = parse(data)
            _ = (envelope.sender, envelope.recipients, envelope.unknown_requirements(), envelope.subject())
        except CpimError:
            continue
        assert envelope.head + body == data
