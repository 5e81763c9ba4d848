"""What every hook promises: an answer whatever happens, and a log that tells who without telling too much."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kemi import pager_originating
from kemi.app import App
from kemi.breaker import Breaker
from kemi.messages import (
    AbandonedInvites,
    EndFacts,
    PagerFacts,
    SendRequest,
    SipEvent,
    SipRequest,
    encode_ask_waiting,
    encode_cancel,
    encode_send_request,
    read_waiting_keys,
)
from kemi.trace_events import TraceEvent, read_trace_lines
from tests.kemi.bench import ALICE, BOB, CALL_ID, Bench, sip

KEMI = Path(__file__).resolve().parent.parent.parent / "kemi"
NATIVE = "\n".join(path.read_text(encoding="utf-8") for path in (KEMI / "im.cfg", KEMI.parent / "kamailio.cfg"))
HOOKS = [name for name in dir(App) if name.startswith("im_")]
TELLING = ["im_leg_cancelled", "im_leg_response", "im_leg_timeout"]
ANSWERING = [name for name in HOOKS if name not in ("im_traces", *TELLING)]
"""The timer process, and what is told of a leg's own requests, have no client to answer."""


def test_the_native_routes_call_the_hooks_and_no_others() -> None:
    assert sorted(set(re.findall(r'python_exec\("(\w+)"', NATIVE))) == HOOKS


def test_the_routes_that_python_names_exist() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in KEMI.glob("*.py"))
    for route in re.findall(r't_on_failure\("(\w+)"\)', sources):
        assert f"failure_route[{route}]" in NATIVE


def test_the_steps_that_python_names_are_taken_by_the_native_routes() -> None:
    sources = "\n".join((KEMI / name).read_text(encoding="utf-8") for name in ("adapter.py", "app.py", "ksr.py"))
    steps = set(re.findall(r'next_step\("(\w+)"', sources)) | {"core", "recipient"}
    for step in steps - {"done", "capable"}:
        assert f'"{step}"' in NATIVE, step


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("hook", ANSWERING)
def test_a_bug_in_any_hook_is_answered_500_and_logged_with_the_call_id(working: Bench, hook: str) -> None:
    calls = []

    def fail_once(name: str) -> None:
        if name == "pv.get":
            calls.append(name)
            if len(calls) == 1:
                raise RuntimeError("a bug")

    working.receive()
    working.kamailio.ksr.pv.seti("$var(im_status)", 480)
    working.kamailio.on_call = fail_once
    assert working.hook(hook) == "done"
    assert working.statuses == [500]
    logged = working.kamailio.logged("err")
    assert CALL_ID in logged and "RuntimeError: a bug" in logged


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("hook", TELLING)
def test_a_bug_where_no_client_waits_is_only_logged(working: Bench, monkeypatch: pytest.MonkeyPatch, hook: str) -> None:
    def broken(*_: object) -> bool:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Breaker, "send", broken)
    working.receive()
    assert working.hook(hook) == "done"
    assert working.statuses == []
    assert CALL_ID in working.kamailio.logged("err")


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("call_id", [b"caf\xe9@client", b"tab\there", b"\x01\x7f"])
def test_a_bug_is_logged_whatever_the_call_id_is_made_of(
    working: Bench, monkeypatch: pytest.MonkeyPatch, call_id: bytes
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("\0 and \udcff in the text of an error")

    monkeypatch.setattr(pager_originating, "screen", broken)
    working.receive(sip().replace(CALL_ID.encode(), call_id))
    assert working.hook("im_originating") == "done"
    assert working.statuses == [500]
    assert "ValueError" in working.kamailio.logged("err")


@pytest.mark.requirement("SEC-05")
def test_a_bug_after_the_suspension_leaves_no_client_waiting(working: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bool:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Breaker, "send", broken)
    working.receive()
    assert working.hook("im_originating") == "done"
    assert working.statuses == [500]
    assert not any(one.suspended for one in working.kamailio.transactions.values())


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("uri", ["sip:bo\0b@example.com", "sip:bob@exa mple.com", "sip:%zz@example.com", "sip:", "x"])
def test_an_address_that_is_none_gets_an_answer(working: Bench, uri: str) -> None:
    working.receive(to=uri, serves_recipient=False)
    working.hook("im_originating")
    for asked in working.packets():
        working.answer(asked, PagerFacts(EndFacts(), None))
    assert working.statuses in ([], [500])
    assert (working.statuses == []) is (working.kamailio.var("im_next") == "core")


@pytest.mark.requirement("SEC-05", "PAG-03")
def test_a_setting_that_cannot_be_read_is_named_in_the_log(working: Bench) -> None:
    working.app = App()
    working.kamailio.settings["IM_PAGER_MAX_SIZE"] = "lots"
    working.receive()
    working.hook("im_originating")
    assert working.statuses == [500]
    assert "setting IM_PAGER_MAX_SIZE = 'lots'" in working.kamailio.logged("err")


# ---- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("SEC-05", "PAG-02")
def test_a_refusal_is_logged_with_call_id_requirement_and_originator(working: Bench) -> None:
    working.receive()
    working.hook("im_originating")
    working.answer(working.question(), PagerFacts(EndFacts(im_allowed=False), EndFacts()))
    (line,) = working.kamailio.logged("notice").splitlines()
    assert line.startswith(f"IM refused 403 PAG-02 MESSAGE Call-ID={CALL_ID} originator={ALICE} recipient={BOB}: ")
    (reply,) = working.kamailio.replies
    assert reply.headers == ('Warning: 399 example.com "Originator is not allowed to use IM"\r\n',)
    (trace,) = working.kamailio.queues["im_trace"]
    (event,) = read_trace_lines(trace.encode())
    received = working.clock.wall
    warning = "Originator is not allowed to use IM"
    assert event == TraceEvent(CALL_ID, "refused", ALICE, BOB, 403, "PAG-02", warning, received, received)


@pytest.mark.requirement("IDN-04", "PAG-02")
def test_who_asked_for_privacy_is_in_no_log_trace_or_reply(working: Bench) -> None:
    working.receive(sip("MESSAGE", "Privacy: id"))
    working.hook("im_originating")
    working.answer(working.question(), PagerFacts(EndFacts(im_allowed=False), EndFacts()))
    assert "originator=anonymous" in working.kamailio.logged("notice")
    for text in (working.kamailio.log, working.kamailio.queues, working.kamailio.replies):
        assert "alice" not in str(text)


@pytest.mark.requirement("IDN-01")
def test_a_request_without_originator_is_refused_and_logged_as_such(working: Bench) -> None:
    working.receive(ao="")
    working.hook("im_originating")
    assert working.statuses == [403]
    assert "IDN-01" in working.kamailio.logged("notice") and "originator=unidentified" in working.kamailio.logged("notice")


@pytest.mark.requirement("SEC-05", "PAG-03")
@pytest.mark.parametrize("content_type", [b"text/\xe9\xff", b"text/\x7fx", b"\x01/\x02"])
def test_what_the_client_sent_cannot_break_the_warning(working: Bench, content_type: bytes) -> None:
    working.kamailio.settings["IM_CONTENT_TYPES"] = "text/plain"
    working.app = App()
    working.receive(sip(content_type=content_type))
    working.hook("im_originating")
    working.answer(working.question(), PagerFacts(EndFacts(), EndFacts()))
    (reply,) = working.kamailio.replies
    assert reply.status == 403
    (header,) = reply.headers
    assert header.removesuffix("\r\n").isprintable()


@pytest.mark.requirement("SEC-05")
def test_the_entry_script_gives_kamailio_its_object_from_any_directory(tmp_path: Path) -> None:
    code = (
        "import runpy, sys, types; sys.modules['KSR'] = types.ModuleType('KSR')\n"
        f"names = runpy.run_path({str(KEMI / 'im.py')!r}, run_name='entry')\n"
        "app = names['mod_init'](); print(type(app).__name__, app.child_init(1))"
    )
    run = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stdout == "App 0\n", run.stderr


@pytest.mark.requirement("PFS-08", "PFS-09", "SEC-01")
def test_commands_about_legs_reach_kamailio(working: Bench) -> None:
    """A request to send, and an INVITE to cancel; both only with the key."""
    request = SendRequest("BYE", "sip:bob@192.0.2.1", "sip:proxy;lr", "Call-ID: one\r\n", "")
    working.command(encode_send_request(request))
    working.command(encode_cancel("one", 7))
    fake = working.kamailio
    assert fake.sent_requests == [("BYE", "sip:bob@192.0.2.1", "sip:proxy;lr", ".", "Call-ID: one\r\n", "")]
    assert fake.cancelled == [("one", "7", 0)]


@pytest.mark.requirement("PFS-09", "SEC-06")
def test_a_request_for_a_leg_waits_for_the_worker(working: Bench) -> None:
    working.receive()
    assert working.hook("im_leg_request") == "done"
    (asked,) = working.packets()
    assert isinstance(asked.message, SipRequest) and asked.message.method == "MESSAGE"
    assert asked.content.startswith(b"MESSAGE ")
    assert working.statuses == []


@pytest.mark.requirement("SEC-06")
def test_the_invites_of_a_dead_worker_are_handed_to_the_next(working: Bench) -> None:
    """Those that wait since before a moment, and again as long as nobody has answered them: that worker may die, too."""
    invite = b"INVITE sip:im-leg-1@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK%d\r\nCSeq: 1 INVITE\r\n"
    for number in range(3):
        working.clock.now += 1
        working.beat()
        working.receive(invite % number + b"Call-ID: %d\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n\r\n" % number)
        assert working.hook("im_leg_request") == "done"
    *_, third = (packet.transaction for packet in working.packets())
    third_since = int(working.clock.now * 10)
    working.command(encode_ask_waiting(third_since))
    working.command(encode_ask_waiting(third_since))
    for told in working.packets():
        assert isinstance(told.message, AbandonedInvites)
        assert len(read_waiting_keys(told.content)) == 2 and third not in read_waiting_keys(told.content)
    assert told


@pytest.mark.requirement("SEC-06", "PFS-10")
def test_a_request_that_cannot_be_sent_is_told(working: Bench) -> None:
    """The leg hears that no response will come."""
    working.kamailio.uac_fails = True
    headers = "Call-ID: one\r\nCSeq: 7 BYE\r\nFrom: <sip:a@x>;tag=im-leg-1\r\nTo: <sip:b@y>;tag=2;x=y\r\n"
    working.command(encode_send_request(SendRequest("BYE", "sip:b@192.0.2.1", "", headers, "")))
    (told,) = working.packets()
    assert told.message == SipEvent("one", "timeout", "BYE", 7, "im-leg-1", "2")
