"""The adapter and the hooks with the worker's end of the link: suspended, answered, away, full, and not to be fooled."""

from __future__ import annotations

import json

import pytest

from kemi.adapter import Adapter
from kemi.breaker import Breaker
from kemi.messages import (
    DeferQuestion,
    Deferred,
    EndFacts,
    Failed,
    PagerFacts,
    PagerQuestion,
    Registered,
    RegisterQuestion,
    SipEvent,
    SipRequest,
    encode_answer,
)
from kemi.policy import Policy
from tests.kemi.bench import ALICE, BOB, CALL_ID, CAPABLE, KEY, Bench, sip

USERS = PagerFacts(EndFacts(), EndFacts())
STARTED = ["im_originating", "im_terminating"]
RETRY_AFTER = f"Retry-After: {Policy().retry_after}\r\n"


def online(bench: Bench) -> None:
    """Bob has an IM-capable binding."""
    bench.kamailio.bindings[BOB] = [("sip:bob@192.0.2.2", CAPABLE)]


@pytest.mark.requirement("PAG-05", "PAG-09")
def test_an_online_message_is_asked_about_once_and_goes_to_the_recipient(working: Bench) -> None:
    online(working)
    working.receive(sip("MESSAGE", uri=f"{BOB};session=1-1"), to=f"{BOB};session=1-1")
    assert working.hook("im_originating") == "done"
    asked = working.question()
    assert asked.message == PagerQuestion(CALL_ID, ALICE, BOB, False, True, True)
    assert asked.transaction == working.kamailio.transaction.identity
    assert asked.content == b"", "an online message does not travel over the link"
    assert working.answer(asked, USERS) == "recipient"
    assert working.kamailio.var("im_uri") == BOB
    assert (working.packets(), working.statuses) == ([], [])


@pytest.mark.requirement("PAG-05")
def test_a_message_to_another_domain_goes_to_the_core(working: Bench) -> None:
    working.receive(to="sip:carol@elsewhere.org", serves_recipient=False)
    working.hook("im_originating")
    assert working.answer(working.question(), PagerFacts(EndFacts(), None)) == "core"
    assert working.kamailio.var("im_uri") == "sip:carol@elsewhere.org"


@pytest.mark.requirement("DEF-01", "PAG-08", "SEC-05")
def test_an_offline_message_is_kept_byte_for_byte_before_the_202(working: Bench) -> None:
    raw = sip("MESSAGE", b"X-Latin: caf\xe9", b"Subject: \xff\xfe", content=b"hi \xff\xfe\x00 there\r\n\r\n")
    working.receive(raw)
    working.hook("im_originating")
    assert working.answer(working.question(), USERS) == "done"
    asked = working.question()
    assert isinstance(asked.message, DeferQuestion)
    assert asked.content == raw
    assert asked.message.reason == "not registered"
    assert working.statuses == [], "nothing is said before the message is durable"
    assert working.answer(asked, Deferred("m1@example.com")) == "done"
    assert working.statuses == [202]


@pytest.mark.requirement("DEF-11", "DEF-01", "SEC-06")
@pytest.mark.parametrize(
    ("refusal", "status"), [(Deferred(refusal="quota"), 480), (Deferred(refusal="unavailable"), 503), (Failed("bug"), 503)]
)
def test_a_message_that_was_not_kept_is_not_accepted(working: Bench, refusal: Deferred | Failed, status: int) -> None:
    working.receive()
    working.hook("im_originating")
    working.answer(working.question(), USERS)
    working.answer(working.question(), refusal)
    assert working.statuses == [status]


@pytest.mark.requirement("SEC-06")
@pytest.mark.parametrize("hook", STARTED)
@pytest.mark.parametrize("how", ["never started", "no heartbeat", "stale heartbeat", "dead"])
def test_without_the_worker_the_answer_is_503_at_once(bench: Bench, hook: str, how: str) -> None:
    if how != "never started":
        bench.start_worker()
    if how == "no heartbeat":
        bench.kamailio.tables["im_link"].clear()
    if how == "stale heartbeat":
        bench.clock.now += Policy().beat_timeout + 0.2
    if how == "dead":
        bench.stop_worker()
    bench.receive()
    assert bench.hook(hook) == "done"
    (reply,) = bench.kamailio.replies
    assert (reply.status, reply.reason) == (503, "Service Unavailable")
    assert RETRY_AFTER in reply.headers
    assert bench.kamailio.transactions == {}, "nothing is kept for it"
    assert f"SEC-06 MESSAGE Call-ID={CALL_ID}" in bench.kamailio.logged("notice")


@pytest.mark.requirement("SEC-06")
def test_the_worker_is_back_without_a_restart_of_kamailio(bench: Bench) -> None:
    bench.receive()
    bench.hook("im_originating")
    assert bench.statuses == [503]
    bench.start_worker()
    bench.clock.now += 1
    bench.beat()
    bench.receive(sip(branch="z9hG4bK2"))
    bench.hook("im_originating")
    assert isinstance(bench.question().message, PagerQuestion)
    assert bench.statuses == [503]


@pytest.mark.requirement("SEC-06")
def test_a_question_that_finds_no_room_is_answered_503_and_leaves_nothing_suspended(
    working: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Breaker, "send", lambda *_: False)
    working.receive()
    assert working.hook("im_originating") == "done"
    (reply,) = working.kamailio.replies
    assert (reply.status, reply.call_id) == (503, CALL_ID)
    assert RETRY_AFTER in reply.headers
    assert not any(one.suspended for one in working.kamailio.transactions.values())


@pytest.mark.requirement("SEC-06")
def test_a_question_that_is_never_answered_ends_in_503(working: Bench) -> None:
    working.receive()
    working.hook("im_originating")
    assert working.kamailio.transaction.timeouts == (0, Policy().answer_timeout)
    assert working.kamailio.transaction.on_failure == "IM_UNANSWERED"
    working.hook("im_unanswered")
    (reply,) = working.kamailio.replies
    assert reply.status == 503 and RETRY_AFTER in reply.headers


@pytest.mark.requirement("SEC-06")
def test_an_answer_that_comes_too_late_or_twice_is_lost_without_harm(working: Bench) -> None:
    working.receive()
    working.hook("im_originating")
    asked = working.question()
    working.hook("im_unanswered")
    assert working.answer(asked, USERS) == "lost"
    assert working.statuses == [503]


def test_an_answer_is_used_for_its_own_transaction_alone(working: Bench) -> None:
    for number in (1, 2):
        working.receive(sip(branch=f"z9hG4bK{number}", call_id=f"call-{number}"))
        working.hook("im_originating")
    first, second = working.packets()
    online(working)
    assert working.answer(second, USERS) == "recipient"
    assert working.answer(first, PagerFacts(EndFacts(im_allowed=False), EndFacts())) == "done"
    assert [(reply.status, reply.call_id) for reply in working.kamailio.replies] == [(403, "call-1")]


def test_an_answer_that_was_used_is_not_used_for_the_next_request(working: Bench) -> None:
    working.receive()
    working.hook("im_originating")
    working.answer(working.question(), USERS)
    working.receive(sip(branch="z9hG4bK2"))
    working.hook("im_originating")
    assert working.app._adapter.answer is None


@pytest.mark.requirement("SEC-05")
def test_a_retransmission_is_silent_and_asks_nothing_again(working: Bench) -> None:
    for _ in range(3):
        working.receive()
        assert working.hook("im_originating") == "done"
    assert len(working.packets()) == 1
    assert working.statuses == []
    assert len(working.kamailio.transactions) == 1


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("broken", ["newtran_fails", "suspend_fails"])
def test_when_tm_is_out_of_memory_the_client_hears_of_it(working: Bench, broken: str) -> None:
    setattr(working.kamailio, broken, True)
    working.receive()
    assert working.hook("im_originating") == "done"
    assert working.statuses == [500]
    assert working.packets() == []


@pytest.mark.requirement("PAG-08", "PAG-20")
@pytest.mark.parametrize(
    ("status", "content_type", "deferred"),
    [
        (408, "text/plain", True),
        (480, "text/plain", True),
        (486, "text/plain", False),
        (603, "text/plain", False),
        (408, "application/im-iscomposing+xml", False),
    ],
)
def test_a_failed_delivery_is_deferred_in_the_transaction_it_has(
    working: Bench, status: int, content_type: str, deferred: bool
) -> None:
    working.receive(sip(content_type=content_type))
    online(working)
    working.hook("im_originating")
    assert working.answer(working.question(), USERS) == "recipient"
    working.kamailio.ksr.pv.seti("$var(im_status)", status)
    assert working.hook("im_delivery_failed") == ("done" if deferred else "pass")
    if deferred:
        assert working.answer(working.question(), Deferred("m1")) == "done"
    assert working.statuses == ([202] if deferred else [])
    assert len(working.kamailio.transactions) == 1


# ---- Commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("SEC-01")
@pytest.mark.parametrize(
    ("key", "method"),
    [(b"", "IMW"), (b"wrong", "IMW"), (KEY + b"x", "IMW"), (KEY[:-1], "IMW"), (b"\xff\xfe", "IMW"), (KEY, "MESSAGE")],
)
def test_a_command_without_the_key_is_refused_and_harmless(working: Bench, key: bytes, method: str) -> None:
    working.receive()
    working.hook("im_originating")
    asked = working.question()
    assert asked.transaction is not None
    link = dict(working.kamailio.tables["im_link"])
    for body in (
        encode_answer(asked.transaction, USERS),
        b'{"do":"beat","revision":99}',
        b'{"do":"reload-subscriptions"}',
        b"\xff not json",
    ):
        assert working.command(body, key, method) == "done"
    assert working.kamailio.tables["im_link"] == link
    assert working.kamailio.rpc == []
    assert working.statuses == []
    assert [one.suspended for one in working.kamailio.transactions.values()] == [True]
    assert working.kamailio.logged("warn").count("IM control: refused") == 4
    assert "127.0.0.1:40000" in working.kamailio.logged("warn")
    assert KEY.decode() not in str(working.kamailio.log)


@pytest.mark.requirement("SEC-01")
@pytest.mark.parametrize("key_file", [None, b"", b"\n"])
def test_without_a_key_no_command_is_believed(bench: Bench, key_file: bytes | None) -> None:
    if key_file is not None:
        (bench.state_dir / "control.key").write_bytes(key_file)
    assert bench.command(b'{"do":"beat","revision":1}', b"") == "done"
    assert bench.kamailio.tables["im_link"] == {}


@pytest.mark.requirement("SEC-06")
def test_a_worker_with_a_new_key_is_believed(working: Bench) -> None:
    (working.state_dir / "control.key").write_bytes(b"another key")
    working.kamailio.tables["im_link"].clear()
    working.command(b'{"do":"beat","revision":3}', b"another key")
    assert working.kamailio.tables["im_link"]["revision"] == 3


@pytest.mark.requirement("COR-04")
def test_subscriptions_are_read_again_on_command(working: Bench) -> None:
    assert working.command(b'{"do":"reload-subscriptions","revision":-1}') == "done"
    (request,) = working.kamailio.rpc
    assert json.loads(request)["method"] == "htable.reload"
    assert json.loads(request)["params"] == ["im_without_service"]


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"not json",
        b"[]",
        b"{}",
        b'{"do":"unknown"}',
        b'{"do":["x"]}',
        b'{"do":"beat"}',
        b'{"do":"beat","revision":99999999999999}',
        b'{"do":"answer"}',
        b'{"do":"answer","id":[1,2],"of":"unknown"}',
    ],
)
def test_a_malformed_command_is_logged_and_harmless(working: Bench, body: bytes) -> None:
    working.receive()
    working.hook("im_originating")
    asked = working.question()
    assert working.command(body) == "done"
    assert working.kamailio.logged("err") != ""
    online(working)
    assert working.answer(asked, USERS) == "recipient"


LEG = sip("INVITE", uri="sip:im-session@example.com", content=b"v=0\r\n", content_type="application/sdp")


@pytest.mark.requirement("SEC-05")
def test_a_retransmission_for_a_leg_is_told_once(working: Bench) -> None:
    for _ in range(2):
        working.receive(LEG)
        assert working.hook("im_leg_request") == "done"
    assert working.question().content == LEG
    assert working.statuses == []


@pytest.mark.requirement("SEC-06")
def test_without_the_worker_a_request_for_a_leg_gets_503(bench: Bench) -> None:
    bench.receive(LEG)
    assert bench.hook("im_leg_request") == "done"
    (reply,) = bench.kamailio.replies
    assert reply.status == 503 and RETRY_AFTER in reply.headers


@pytest.mark.requirement("PFS-08")
def test_an_ack_is_told_and_not_answered(working: Bench) -> None:
    ack = LEG.replace(b"INVITE", b"ACK")
    working.receive(ack)
    assert working.hook("im_leg_request") == "done"
    told = working.question()
    assert isinstance(told.message, SipEvent)
    assert (told.message.kind, told.message.call_id, told.content) == ("ack", CALL_ID, ack)
    assert (told.transaction, working.statuses, working.kamailio.transactions) == (None, [], {})


# ---- Facts that the processes share -----------------------------------------------------------------------------------


@pytest.mark.requirement("SET-07", "PAG-05")
def test_shared_facts_save_the_question_until_the_store_changes(bench: Bench) -> None:
    bench.start_worker(revision=5)
    online(bench)
    bench.receive()
    bench.hook("im_originating")
    bench.answer(bench.question(), PagerFacts(EndFacts(), EndFacts(), 5))

    bench.receive(sip(branch="z9hG4bK2"))
    assert bench.hook("im_originating") == "recipient"
    assert bench.packets() == []

    bench.beat(revision=6)
    bench.receive(sip(branch="z9hG4bK3"))
    assert bench.hook("im_originating") == "done"
    assert isinstance(bench.question().message, PagerQuestion)


@pytest.mark.requirement("SET-07", "PAG-07", "SEC-06")
@pytest.mark.parametrize("why", ["rules", "unknown recipient", "no revision", "older facts", "worker away"])
def test_facts_that_are_not_good_for_the_next_message_are_asked_for_again(bench: Bench, why: str) -> None:
    bench.start_worker(revision=-1 if why == "no revision" else 5)
    online(bench)
    recipient = None if why == "unknown recipient" else EndFacts(has_rules=why == "rules")
    revision = {"no revision": -1, "older facts": 4}.get(why, 5)
    bench.receive()
    bench.hook("im_originating")
    bench.answer(bench.question(), PagerFacts(EndFacts(), recipient, revision))
    if why == "worker away":
        bench.clock.now += 60
    bench.receive(sip(branch="z9hG4bK2"))
    assert bench.hook("im_originating") == "done"
    assert len(bench.packets()) == (0 if why == "worker away" else 1)


# ---- Registration -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("COR-06")
@pytest.mark.parametrize(("stored", "status"), [(True, 200), (False, 404)])
def test_a_third_party_register_is_answered_when_it_is_stored(working: Bench, stored: bool, status: int) -> None:
    working.receive(sip("REGISTER", "Expires: 3600", uri="sip:example.com", content=b""), separate_core=True)
    working.hook("im_third_party_register")
    asked = working.question()
    assert asked.message == RegisterQuestion(CALL_ID, BOB, 3600, True)
    working.answer(asked, Registered(stored))
    (reply,) = working.kamailio.replies
    assert reply.status == status
    assert ("Expires: 3600\r\n" in reply.headers) is stored


CORE_ROUTE = "<sip:odi-7@192.0.2.10;lr;mark=1>"


@pytest.mark.requirement("PFS-03", "COR-05")
@pytest.mark.parametrize(("hook", "side"), [("im_originating", "originating"), ("im_terminating", "terminating")])
def test_the_worker_is_told_the_way_back_to_a_separate_core(working: Bench, hook: str, side: str) -> None:
    """Route without our own value, where the core has reached us, and which side it asked; not of what a client sends."""
    kamailio = working.kamailio
    keeps = EndFacts(registered=True, session_history=True)
    for number, separate_core in enumerate((True, False), 1):
        raw = sip("INVITE", f"Route: <sip:192.0.2.1:5070;lr>, {CORE_ROUTE}", branch=f"z9hG4bK{number}", content=b"v=0")
        working.receive(raw, separate_core=separate_core, serves_recipient=side == "terminating")
        for name, text in (("im_back", CORE_ROUTE[1:-1]), ("im_reached", "192.0.2.1:5070"), ("im_socket", "10.0.0.1:5070")):
            kamailio.set_avp(name, text)
        assert working.hook(hook) == "done"
        asked = working.question()
        assert isinstance(asked.message, PagerQuestion) and asked.message.from_tag == "tag-1"
        kamailio.bindings[BOB] = [("sip:bob@192.0.2.2", CAPABLE)]
        assert working.answer(asked, PagerFacts(keeps, keeps)) == "done"
        told = working.question().message
        assert isinstance(told, SipRequest) and told.function == "participating"
        core = (told.side, told.core_route, told.core_reached, told.core_socket)
        assert core == ((side, CORE_ROUTE, "192.0.2.1:5070", "10.0.0.1:5070") if separate_core else ("", "", "", ""))


def test_each_process_reads_the_settings_once(working: Bench) -> None:
    reads: list[str] = []
    working.kamailio.on_call = reads.append
    adapter = Adapter()
    assert adapter.policy.domain == "example.com"
    before = len(reads)
    assert adapter.policy is adapter.policy
    assert len(reads) == before
