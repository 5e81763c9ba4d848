"""SDP and MSRP that nobody should send: each has its answer, and a good session beside it notices nothing (SEC-05)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.health import Whole
from tests.scenarios.media.parties import (
    SDP_TYPE,
    Party,
    assert_talking,
    description,
    hang_up,
    idle,
    refused,
    talk,
    two_parties,
)
from tests.scenarios.media.wire import MsrpSocket, frame, text_message

SETTINGS = {"IM_MEDIA_PATH": "always"}
NewUser = Callable[..., str]

PATH = "msrp://127.0.0.1:4000/abc;tcp"
GOOD = description(PATH, 4000)


def without(prefix: bytes) -> bytes:
    return b"".join(line for line in GOOD.splitlines(keepends=True) if not line.startswith(prefix))


UNUSABLE = {
    "nothing": b"",
    "noise": bytes(range(256)) * 4,
    "no SDP": b"hello\r\n",
    "JSON": b'{"v": 0}',
    "NUL in a line": GOOD.replace(b"s=-", b"s=\0"),
    "no version": without(b"v="),
    "no origin": without(b"o="),
    "no media": without(b"m=")[:60],
    "audio alone": GOOD.replace(b"m=message 4000 TCP/MSRP *", b"m=audio 4000 RTP/AVP 0"),
    "unknown transport": GOOD.replace(b"TCP/MSRP", b"UDP/MSRP"),
    "another unknown transport": GOOD.replace(b"TCP/MSRP", b"SCTP/DTLS/MSRP"),
    "TLS, which is not configured": GOOD.replace(b"TCP/MSRP", b"TCP/TLS/MSRP").replace(b"msrp:", b"msrps:"),
    "port 0": GOOD.replace(b"message 4000", b"message 0"),
    "port out of range": GOOD.replace(b"message 4000", b"message 99999"),
    "port no number": GOOD.replace(b"message 4000", b"message many"),
    "no path": without(b"a=path"),
    "empty path": GOOD.replace(PATH.encode(), b""),
    "path of another scheme": GOOD.replace(b"path:msrp:", b"path:http:"),
    "path without transport": GOOD.replace(b";tcp", b""),
    "path port out of range": GOOD.replace(b":4000/", b":70000/"),
    "path too long": GOOD.replace(b"/abc", b"/" + b"a" * 2000),
    "path of too many hops": GOOD.replace(PATH.encode(), b" ".join([PATH.encode()] * 17)),
    "line break in path": GOOD.replace(b"/abc", b"/a\nbc"),
    "no accept-types": without(b"a=accept-types"),
    "accept-types no types": GOOD.replace(b"accept-types:*", b"accept-types:???"),
    "too many types": GOOD.replace(b"accept-types:*", b"accept-types:" + b" ".join([b"a/b"] * 500)),
    "max-size no number": GOOD + b"a=max-size:huge\r\n",
    "max-size beyond reason": GOOD + b"a=max-size:" + b"9" * 400 + b"\r\n",
    "fingerprint malformed": GOOD + b"a=fingerprint:sha-256 zz\r\n",
    "thousands of lines": GOOD + b"a=x\r\n" * 9000,
    "active towards nobody": GOOD.replace(b";tcp", b";ws") + b"a=setup:passive\r\n",
}


@pytest.fixture(scope="module", autouse=True)
def whole(instance: Instance) -> Iterator[None]:
    """At the end Kamailio has the same processes, and the worker has logged no bug."""
    with Whole(instance):
        yield
    for log in (instance.worker_log(), instance.kamailio_log()):
        assert "Traceback" not in log, log[log.index("Traceback") - 200 :][:3000]
        assert "IM bug" not in log
    assert "internal error" not in instance.worker_log()


def still_works(instance: Instance, new_user: NewUser) -> None:
    """A session of two good clients on this instance."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)
    idle(instance)


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("offer", UNUSABLE.values(), ids=UNUSABLE)
def test_an_offer_that_cannot_be_used(instance: Instance, new_user: NewUser, offer: bytes) -> None:
    """488 with a Warning that says why, and the recipient's device hears nothing."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        response = refused(caller, callee, offer)
        assert response.status == 488
        assert response.value("Warning").startswith("399 ")
    still_works(instance, new_user)


ANSWERS = {
    "nothing": b"",
    "noise": bytes(range(256)),
    "no MSRP": GOOD.replace(b"m=message 4000 TCP/MSRP *", b"m=audio 4000 RTP/AVP 0"),
    "port 0": GOOD.replace(b"message 4000", b"message 0"),
    "one line too many": GOOD + b"m=message 4000 TCP/MSRP *\r\na=accept-types:*\r\na=path:" + PATH.encode() + b"\r\n",
    "no path": without(b"a=path"),
    "another transport": GOOD.replace(b"TCP/MSRP", b"TCP/TLS/MSRP").replace(b"msrp:", b"msrps:"),
}


@pytest.mark.requirement("SEC-05", "PFS-04")
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_cannot_be_used(instance: Instance, new_user: NewUser, answer: bytes) -> None:
    """The callee, which thinks that it has a session, is released, and the caller is told 488; 502 where none came."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        callee.agent.register()
        call_id = caller.invite(callee.agent.user, caller.describe())
        invite = callee.invited()
        callee.agent.reply(invite, 200, "OK", callee.contact, SDP_TYPE, body=answer)
        assert caller.answered(call_id).status == (488 if answer else 502)
        callee.released()
    still_works(instance, new_user)


@pytest.mark.requirement("SEC-05", "SEC-01")
@pytest.mark.parametrize("port_of", ["control_port", "http_port", "sip_port"])
def test_a_path_to_our_own_ports(instance: Instance, new_user: NewUser, port_of: str) -> None:
    """The callee would have us connect to our own control, HTTP or SIP port: that connection is never made."""
    port = getattr(instance.deployment.config, port_of)
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        callee.agent.register()
        call_id = caller.invite(callee.agent.user, caller.describe())
        invite = callee.invited()
        answer = description(f"msrp://127.0.0.1:{port}/abc;tcp", port, setup="passive")
        callee.agent.reply(invite, 200, "OK", callee.contact, SDP_TYPE, body=answer)
        caller.answered(call_id)
        callee.released()
        caller.released()
        assert f"127.0.0.1 port {port} is a port of our own" in instance.worker_log()
    still_works(instance, new_user)


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    "path",
    ["msrp://127.0.0.1:1/abc;tcp", "msrp://nobody.invalid:2855/abc;tcp", "msrp://127.0.0.1/abc;tcp"],
    ids=["nobody there", "no such name", "no port"],
)
def test_a_path_that_leads_nowhere(instance: Instance, new_user: NewUser, path: str) -> None:
    """Both sides are released."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        callee.agent.register()
        call_id = caller.invite(callee.agent.user, caller.describe())
        invite = callee.invited()
        answer = description(path, 1, setup="passive")
        callee.agent.reply(invite, 200, "OK", callee.contact, SDP_TYPE, body=answer)
        caller.answered(call_id)
        callee.released()
        caller.released()
    still_works(instance, new_user)


START = b"MSRP abcd SEND\r\n"
STRANGER = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
    "SIP": b"OPTIONS sip:x@example.com SIP/2.0\r\nContent-Length: 0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "noise": bytes(range(256)) * 40,
    "NUL bytes": bytes(5000),
    "endless start line": b"MSRP " + b"a" * 100_000,
    "endless header": START + b"X: " + b"a" * 100_000,
    "header flood": START + b"".join(b"X-%d: y\r\n" % number for number in range(20_000)),
    "body outside SEND": b"MSRP abcd REPORT\r\nTo-Path: msrp://h:1/x;tcp\r\nFrom-Path: msrp://h:1/y;tcp\r\n"
    b"Content-Type: text/plain\r\n\r\n" + b"x" * 100_000,
}


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("data", STRANGER.values(), ids=STRANGER)
def test_what_is_not_msrp(instance: Instance, new_user: NewUser, data: bytes) -> None:
    """The connection is closed, at once."""
    with MsrpSocket.to(instance.deployment.config.msrp_port) as stranger:
        stranger.send(data)
        assert stranger.closed(3)
    still_works(instance, new_user)


def odd_frames(party: Party) -> dict[str, tuple[bytes, int]]:
    """Requests of a peer in a session, each with its transaction `odd1` and the status of the answer."""
    to, sender = party.server, party.path
    ident, kind = "Message-ID: 12345", "Content-Type: text/plain"

    def send(*headers: str, body: bytes | None = b"x", method: str = "SEND", to: str = to, sender: str = sender) -> bytes:
        return frame(method, to, sender, *headers, body=body, transaction="odd1")

    return {
        "no Message-ID": (send(kind), 400),
        "range backwards": (send(ident, "Byte-Range: 9-1/9", kind), 400),
        "range no range": (send(ident, "Byte-Range: all", kind), 400),
        "range from 0": (send(ident, "Byte-Range: 0-1/1", kind), 400),
        "range beyond every number": (send(ident, f"Byte-Range: 1-*/{'9' * 60}", kind), 400),
        "range beyond every message": (send(ident, "Byte-Range: 99999999999-*/*", kind), 413),
        "no Content-Type": (send(ident), 400),
        "header without colon": (send(ident, "nonsense", kind), 400),
        "header not UTF-8": (send(ident, kind).replace(b"12345", b"\xff\xfe5"), 400),
        "From-Path twice": (send(f"From-Path: {sender}", ident, kind), 400),
        "Message-ID twice": (send(ident, ident, kind), 400),
        "To-Path no path": (send(ident, kind, to="sip:x"), 400),
        "65 headers": (send(*(f"X-{number}: y" for number in range(70)), ident, kind), 400),
        "unknown method": (send(method="DANCE", body=None), 501),
        "AUTH, though no relay": (send(method="AUTH", body=None), 501),
        "lower-case method": (b"MSRP odd1 send\r\n", -1),
        "wrong order of paths": (
            send(ident, kind).replace(b"To-Path", b"Xx-Path").replace(b"From-Path", b"To-Path").replace(b"Xx", b"From"),
            0,
        ),
    }


@pytest.mark.requirement("SEC-05", "MED-01")
def test_odd_frames_in_a_session(instance: Instance, new_user: NewUser) -> None:
    """400, 413 or 501, no answer (0) where it does not say to whom, or the end (-1); after all else the session goes on."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        seen = {}
        for name, (data, status) in odd_frames(caller).items():
            if status < 0:
                continue
            if status == 0:
                one.send(data)
            else:
                seen[name] = (one.ask(data), status)
            assert_talking(one, caller, other, callee)
        assert {name: row for name, row in seen.items() if row[0] != row[1]} == {}
        hang_up(caller, callee)
    for name, (_, status) in odd_frames(caller).items():
        if status < 0:
            with two_parties(instance, new_user(), new_user()) as (caller, callee):
                talk(caller, callee)
                one, other = caller.bind(), callee.accept()
                one.send(odd_frames(caller)[name][0])
                assert one.closed(), name
                caller.released()
                callee.released()
    still_works(instance, new_user)


@pytest.mark.requirement("SEC-05", "MED-01")
def test_bytes_that_only_look_like_an_end(instance: Instance, new_user: NewUser) -> None:
    """NUL bytes, what is not UTF-8, and lines that could end another frame, pass as they are."""
    body = bytes(range(256)) + b"\r\n-------other$\r\n-------abcd+\r\nMSRP abcd SEND\r\n\r\n-------"
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        assert one.ask(text_message(caller.server, caller.path, body, content_type="application/octet-stream")) == 200
        assert other.message().body == body
        hang_up(caller, callee)


@pytest.mark.requirement("SEC-05", "MED-01")
def test_responses_and_reports_that_nobody_waits_for(instance: Instance, new_user: NewUser) -> None:
    """Dropped without a word."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        for number in range(50):
            for start in (f"MSRP made{number:04} 200 OK", f"MSRP made{number:04} 481 Gone"):
                one.send(
                    f"{start}\r\nTo-Path: {caller.server}\r\nFrom-Path: {caller.path}\r\n"
                    f"-------made{number:04}$\r\n".encode()
                )
            one.send(
                frame(
                    "REPORT",
                    caller.server,
                    caller.path,
                    f"Message-ID: never{number}",
                    "Byte-Range: 1-5/5",
                    "Status: 000 200 OK",
                )
            )
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("SEC-05")
def test_messages_that_never_end(instance: Instance, new_user: NewUser) -> None:
    """More incomplete messages at a time than anybody needs: 413 for the rest."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one = caller.bind()
        callee.accept()
        statuses = []
        for number in range(40):
            chunk = text_message(
                caller.server, caller.path, b"x", message_id=f"open{number:04}", byte_range="1-1/*", flag="+"
            )
            statuses.append(one.ask(chunk))
        assert statuses == [200] * 32 + [413] * 8
        hang_up(caller, callee)
    still_works(instance, new_user)
