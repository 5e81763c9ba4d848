"""What was agreed is held against what is sent: types, sizes (MED-12, LRG-06); what is a message's own passes (LRG-07)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.media.parties import assert_talking, attribute, hang_up, refused, talk, two_parties
from tests.scenarios.media.wire import Frame, MsrpSocket, text_message

LIMIT = 100_000
SETTINGS = {"IM_MEDIA_PATH": "always", "IM_LARGE_MAX_SIZE": str(LIMIT)}
NewUser = Callable[..., str]


def arrived(connection: MsrpSocket) -> tuple[bytes, str]:
    """All that comes of one message, each chunk answered 200, and the flag of its last chunk."""
    content = b""
    while True:
        chunk = connection.frame()
        if chunk.method != "SEND":
            continue
        connection.answer(chunk)
        content += chunk.body
        if chunk.flag != "+":
            return content, chunk.flag


@pytest.mark.requirement("MED-12")
def test_types_that_were_not_agreed(instance: Instance, new_user: NewUser) -> None:
    """415 in each direction, nothing of it passes, and the session goes on. Wild cards, case and parameters count as
    RFC 4975 section 8.6 says."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        offer = caller.describe(types="text/plain text/html")
        invite, response = talk(caller, callee, offer, callee.describe(setup="passive", types="text/plain image/*"))
        assert attribute(invite.body, "accept-types") == "text/plain text/html"
        assert attribute(response.body, "accept-types") == "text/plain image/*"
        one, other = caller.bind(), callee.accept()
        to_callee = (
            ("text/html", 415),
            ("IMAGE/PNG", 200),
            ("Text/Plain; charset=utf-8", 200),
            ("application/x-evil", 415),
        )
        to_caller = (("image/png", 415), ("text/html", 200))
        for sender, party, receiver, rows in ((one, caller, other, to_callee), (other, callee, one, to_caller)):
            for kind, status in rows:
                assert sender.ask(text_message(party.server, party.path, b"x", content_type=kind)) == status, kind
            taken = [kind for kind, status in rows if status == 200]
            assert [receiver.message().value("Content-Type") for _ in taken] == taken
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-12", "MED-07")
def test_types_inside_an_envelope(instance: Instance, new_user: NewUser) -> None:
    """message/cpim may hold what accept-wrapped-types says, and what accept-types says."""
    wrapped = "a=accept-wrapped-types:text/plain"
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        answer = callee.describe(wrapped, setup="passive", types="message/cpim")
        invite, response = talk(caller, callee, caller.describe(wrapped, types="message/cpim"), answer)
        for message in (invite, response):
            assert attribute(message.body, "accept-wrapped-types") == "text/plain"
        one, other = caller.bind(), callee.accept()
        for kind, status in (("text/plain", 200), ("text/html", 415)):
            head = b"From: <sip:a@example.com>\r\nTo: <sip:b@example.com>\r\n\r\n"
            body = head + f"Content-Type: {kind}\r\n\r\nhello".encode()
            assert one.ask(text_message(caller.server, caller.path, body, content_type="message/cpim")) == status
        assert b"hello" in other.message().body
        hang_up(caller, callee)


@pytest.mark.requirement("MED-12", "LRG-06")
def test_sizes_that_were_not_agreed(instance: Instance, new_user: NewUser) -> None:
    """413 for a message that says that it is longer than the other side takes; a=max-size is the smaller one of both."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        offer, answer = caller.describe("a=max-size:1000"), callee.describe("a=max-size:500000", setup="passive")
        invite, response = talk(caller, callee, offer, answer)
        assert attribute(invite.body, "max-size") == "1000"
        assert attribute(response.body, "max-size") == str(LIMIT)
        one, other = caller.bind(), callee.accept()
        assert other.ask(text_message(callee.server, callee.path, bytes(1001))) == 413
        assert other.ask(text_message(callee.server, callee.path, bytes(1000))) == 200
        assert one.message().body == bytes(1000)
        assert one.ask(text_message(caller.server, caller.path, b"x" * 9, byte_range="1-9/100001", flag="+")) == 413
        assert one.ask(text_message(caller.server, caller.path, bytes(2000))) == 200
        assert arrived(other) == (bytes(2000), "$")
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("LRG-06", "MED-01", "MED-02")
def test_an_undeclared_size_that_passes_the_limit(instance: Instance, new_user: NewUser) -> None:
    """Chunks of a message of unknown total are taken up to the limit, then 413; its receiver gets `#`, never a whole."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        statuses = []
        for start in range(1, LIMIT + 20_001, 20_000):
            chunk = text_message(
                caller.server,
                caller.path,
                b"x" * 20_000,
                message_id="endless",
                byte_range=f"{start}-{start + 19_999}/*",
                flag="+",
            )
            statuses.append(one.ask(chunk))
        assert statuses == [200] * (LIMIT // 20_000) + [413]
        content, flag = arrived(other)
        assert len(content) <= LIMIT
        assert flag == "#"
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("LRG-06")
def test_a_declared_size_over_the_limit(instance: Instance, new_user: NewUser) -> None:
    """403 to the INVITE, and the recipient's device hears nothing."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        selector = f'a=file-selector:name:"big.bin" type:application/octet-stream size:{LIMIT + 1}'
        response = refused(caller, callee, caller.describe("a=sendonly", selector, "a=file-transfer-id:1"))
        assert response.status == 403
        assert "exceeds" in response.value("Warning")


DISPOSITION = 'attachment; filename="picture one.png"; size=5'


def passing(message: Frame) -> list[str]:
    """The header fields of a message that are its own, not those of one hop."""
    names = ("Content-Disposition", "Content-ID", "Content-Description", "X-Own", "Content-Type")
    return [message.value(name) for name in names]


@pytest.mark.requirement("LRG-07", "MED-02")
def test_content_headers_and_reports_travel_end_to_end(instance: Instance, new_user: NewUser) -> None:
    """The receiver gets the fields as they were, in a message in one piece and in chunks; the sender gets its report."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        fields = (
            "Success-Report: yes",
            f"Content-Disposition: {DISPOSITION}",
            "Content-ID: <1@example.com>",
            "Content-Description: a picture",
            "X-Own: kept",
        )
        for name, size in (("short", 5), ("long", 9_000)):
            message = text_message(
                caller.server, caller.path, b"p" * size, *fields, content_type="image/png", message_id=name
            )
            assert one.ask(message) == 200
            first = other.message()
            assert passing(first) == [DISPOSITION, "<1@example.com>", "a picture", "kept", "image/png"]
            content, chunk = first.body, first
            while chunk.flag == "+":
                chunk = other.message()
                content += chunk.body
            assert content == b"p" * size
            report = "\r\n".join(
                [
                    "MSRP rep0rt REPORT",
                    f"To-Path: {callee.server}",
                    f"From-Path: {callee.path}",
                    f"Message-ID: {first.value('Message-ID')}",
                    f"Byte-Range: 1-{size}/{size}",
                    "Status: 000 200 OK",
                    "-------rep0rt$",
                ]
            )
            other.send(report.encode() + b"\r\n")
            came = one.report()
            assert (came.status, came.value("Message-ID")) == (200, name)
            assert came.value("Byte-Range") == f"1-{size}/{size}"
            assert came.value("To-Path") == caller.path
        hang_up(caller, callee)


@pytest.mark.requirement("LRG-07", "MED-02")
@pytest.mark.parametrize(("asked", "told"), [("", True), ("Failure-Report: partial", True), ("Failure-Report: no", False)])
def test_a_refusal_of_the_receiver_is_reported(instance: Instance, new_user: NewUser, asked: str, told: bool) -> None:
    """The worker has answered 200 (or nothing); what the receiver says then comes as a REPORT to who wants to know."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        fields = (asked,) if asked else ()
        one.send(text_message(caller.server, caller.path, b"no", *fields, message_id="refused"))
        request = other.frame()
        other.answer(request, 403, "Stop")
        if told:
            report = one.report()
            assert (report.status, report.value("Message-ID")) == (403, "refused")
        else:
            assert one.ask(caller.greeting()) == 200  # the next frame is the answer to this: no report was before it
        hang_up(caller, callee)
