"""The pure rule books, row by row: invite phases, offers, session timers, reliable responses, Replaces."""

from __future__ import annotations

import pytest

from msrp_worker.sip import offer_answer, reliable, replaces, session_timer
from msrp_worker.sip.invite import ENDED, TABLE, Act, Phase, Signal, move
from msrp_worker.sip.message import read
from msrp_worker.sip.offer_answer import Exchange, Refusal, Step
from msrp_worker.sip.reliable import Heard, Provisional, Reliable
from msrp_worker.sip.replaces import Refused, Replaces, Stage
from msrp_worker.sip.session_timer import Granted, SessionTimer, TimerPolicy, TooSmall, Wish
from tests.msrp_worker.sip.legs import calling
from tests.msrp_worker.sip.sip_text import request
from tests.msrp_worker.sip.sip_text import response as respond

P, S, A = Phase, Signal, Act


# --- phases ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_can_end(phase: Phase) -> None:
    reached, new = set(), {phase}
    while new:
        reached |= new
        new = {after for (before, _), (after, _) in TABLE.items() if before in new} - reached
    assert Phase.TERMINATED in reached


@pytest.mark.parametrize(("key", "value"), TABLE.items(), ids=lambda row: "")
def test_an_owner_is_told_exactly_when_the_leg_ends_for_it(
    key: tuple[Phase, Signal], value: tuple[Phase, tuple[Act, ...]]
) -> None:
    (before, _), (after, acts) = key, value
    tells = A.TELL_END in acts or A.TELL_REJECTED in acts
    assert tells == (before not in ENDED and after in ENDED)


def test_a_bye_is_answered_wherever_a_dialog_may_be() -> None:
    answered = {before for (before, signal), (_, acts) in TABLE.items() if signal is S.BYE and A.ANSWER_BYE in acts}
    caller_only = {P.CALLING, P.WITHDRAWN, P.PROCEEDING, P.CANCELLING, P.TERMINATED}
    assert answered == set(Phase) - caller_only


def test_what_is_not_in_the_table_changes_nothing() -> None:
    assert move(P.CONFIRMED, S.PROVISIONAL) == (P.CONFIRMED, ())
    assert move(P.TERMINATED, S.RELEASE) == (P.TERMINATED, ())


# --- offers ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("PFS-05")
@pytest.mark.parametrize("exchange", list(Exchange))
@pytest.mark.parametrize("step", list(Step))
def test_an_exchange_moves_by_its_table_alone(exchange: Exchange, step: Step) -> None:
    if (exchange, step) in offer_answer.TABLE:
        assert offer_answer.moved(exchange, step) is offer_answer.TABLE[exchange, step]
        return
    with pytest.raises(ValueError, match=exchange.name):
        offer_answer.moved(exchange, step)


@pytest.mark.requirement("PFS-05")
@pytest.mark.parametrize(
    ("exchange", "method", "has_offer", "ours", "their_invite", "their_update", "status"),
    [
        (Exchange.STABLE, "INVITE", True, False, False, False, None),
        (Exchange.STABLE, "INVITE", False, False, False, False, None),
        (Exchange.STABLE, "UPDATE", True, False, False, False, None),
        (Exchange.STABLE, "INVITE", True, True, False, False, 491),
        (Exchange.STABLE, "INVITE", True, False, True, False, 500),
        (Exchange.STABLE, "INVITE", True, True, True, False, 500),
        (Exchange.LOCAL_OFFER, "INVITE", True, False, False, False, 491),
        (Exchange.LOCAL_OFFER, "INVITE", False, False, False, False, 491),
        (Exchange.LOCAL_OFFER, "UPDATE", True, False, False, False, 491),
        (Exchange.LOCAL_OFFER, "UPDATE", False, True, False, False, None),
        (Exchange.REMOTE_OFFER, "UPDATE", True, False, False, False, 500),
        (Exchange.REMOTE_OFFER, "UPDATE", False, False, True, False, None),
        (Exchange.REMOTE_OFFER, "UPDATE", False, False, False, True, 500),
        (Exchange.NONE, "UPDATE", True, False, True, False, 500),
    ],
)
def test_offers_at_a_bad_time(
    exchange: Exchange,
    method: str,
    has_offer: bool,
    ours: bool,
    their_invite: bool,
    their_update: bool,
    status: int | None,
) -> None:
    refusal = offer_answer.judge_request(
        exchange,
        method=method,
        has_offer=has_offer,
        our_invite=ours,
        their_invite=their_invite,
        their_update=their_update,
        chance=0.99,
    )
    assert (refusal.status if refusal else None) == status
    assert refusal is None or refusal == Refusal(status or 0, refusal.reason, 10 if status == 500 else None)


@pytest.mark.requirement("PFS-05")
@pytest.mark.parametrize(
    ("owns", "chance", "delay"),
    [(True, 0.0, 2.1), (True, 0.99999, 4.0), (False, 0.0, 0.0), (False, 0.99999, 2.0), (False, 0.5, 1.0)],
)
def test_the_delay_after_491(owns: bool, chance: float, delay: float) -> None:
    assert offer_answer.retry_delay(owns, chance) == delay


def test_the_delays_of_the_two_sides_do_not_overlap() -> None:
    ours = [offer_answer.retry_delay(True, n / 500) for n in range(500)]
    theirs = [offer_answer.retry_delay(False, n / 500) for n in range(500)]
    assert max(theirs) < min(ours) and all(round(one * 100, 6).is_integer() for one in ours + theirs)


# --- session timers -------------------------------------------------------------------------------------------

POLICY = TimerPolicy(interval_s=600, min_s=120, refresher="uas")


@pytest.mark.requirement("CNF-28", "PFS-12")
@pytest.mark.parametrize(
    ("wish", "expires", "required"),
    [  # RFC 4028 table 2, and sections 9 and 4
        (Wish(interval=300), "300;refresher=uas", False),
        (Wish(), "600;refresher=uas", False),
        (Wish(interval=300, supported=True), "300;refresher=uas", True),
        (Wish(interval=300, refresher="uac", supported=True), "300;refresher=uac", True),
        (Wish(interval=300, refresher="uas", supported=True), "300;refresher=uas", True),
        (Wish(interval=300, refresher="x", supported=True), "300;refresher=uas", True),
        (Wish(supported=True), "600;refresher=uas", True),
        (Wish(interval=9000, supported=True), "600;refresher=uas", True),
        (Wish(interval=9000, min_se=700, supported=True), "700;refresher=uas", True),
        (Wish(min_se=700, supported=True), "700;refresher=uas", True),
        (Wish(interval=30), "90;refresher=uas", False),
    ],
)
def test_the_2xx_says_who_refreshes_and_how_often(wish: Wish, expires: str, required: bool) -> None:
    granted = session_timer.answer(SessionTimer(), wish, POLICY, 1000.0)
    assert isinstance(granted, Granted)
    assert dict(granted.headers).get("Session-Expires") == expires
    assert ("Require", "timer") in granted.headers or not required
    assert granted.timer.refreshes_here is expires.endswith("uas")
    assert granted.timer.expires_at == 1000 + int(expires.partition(";")[0])


@pytest.mark.requirement("CNF-28")
def test_who_refreshes_is_our_choice_when_the_caller_leaves_it_to_us() -> None:
    granted = session_timer.answer(SessionTimer(), Wish(interval=300, supported=True), TimerPolicy(), 0.0)
    assert isinstance(granted, Granted) and dict(granted.headers)["Session-Expires"] == "300;refresher=uac"


@pytest.mark.requirement("CNF-28")
@pytest.mark.parametrize(
    ("wish", "small"),
    [
        (Wish(interval=119, supported=True), True),
        (Wish(interval=120, supported=True), False),
        (Wish(interval=119), False),
        (Wish(interval=0, supported=True), False),
    ],
)
def test_422_only_for_those_who_understand_it(wish: Wish, small: bool) -> None:
    assert (session_timer.answer(SessionTimer(), wish, POLICY, 0.0) == TooSmall(120)) is small


@pytest.mark.requirement("CNF-28")
@pytest.mark.parametrize(
    ("lines", "interval", "here"),
    [
        ((("Session-Expires", "300;refresher=uac"), ("Require", "timer")), 300, True),
        ((("Session-Expires", "300;refresher=uas"),), 300, False),
        ((("x", "300 ; Refresher = UAS"),), 300, False),
        ((("Session-Expires", "300"),), 300, True),
        ((("Session-Expires", "10;refresher=uas"),), 90, False),
        ((("Session-Expires", "junk"),), 600, True),
        ((("Session-Expires", "99999999999999;refresher=uas"),), 2**32 - 1, False),
        ((), 600, True),
    ],
)
def test_what_a_2xx_means_for_the_caller(lines: tuple[tuple[str, str], ...], interval: int, here: bool) -> None:
    message = respond(calling().sent(), 200, lines=lines)
    timer = session_timer.answered(SessionTimer(min_se=5), 600, message, 1000.0)
    assert (timer.interval, timer.refreshes_here, timer.min_se) == (min(interval, 9999999999), here, 5)


@pytest.mark.requirement("CNF-28")
@pytest.mark.parametrize(
    ("timer", "headers"),
    [
        (SessionTimer(), {"Session-Expires": "600", "Min-SE": "120"}),
        (SessionTimer(min_se=900), {"Session-Expires": "900", "Min-SE": "900"}),
        (SessionTimer(300, True, 5.0), {"Session-Expires": "300;refresher=uac", "Min-SE": "120"}),
        (SessionTimer(300, False, 5.0, 400), {"Session-Expires": "400;refresher=uas", "Min-SE": "400"}),
    ],
)
def test_what_a_request_asks_for(timer: SessionTimer, headers: dict[str, str]) -> None:
    made = session_timer.request_headers(timer, POLICY)
    assert dict(made) == headers
    assert session_timer.asked_interval(made) == int(headers["Session-Expires"].partition(";")[0])
    asking = session_timer.request_headers(SessionTimer(), TimerPolicy(ask="uas"))
    assert dict(asking) == {"Session-Expires": "1800;refresher=uas"}
    assert "Min-SE" not in dict(session_timer.request_headers(SessionTimer(), TimerPolicy()))


@pytest.mark.requirement("CNF-28", "PFS-10")
@pytest.mark.parametrize(
    ("timer", "deadline", "due"),
    [
        (SessionTimer(), None, ""),
        (SessionTimer(300, True, 1300.0), 1150.0, "refresh"),
        (SessionTimer(300, False, 1300.0), 1268.0, "expired"),
        (SessionTimer(90, False, 1090.0), 1060.0, "expired"),
        (SessionTimer(300, True, 1300.0, 0, 1200.0), 1200.0, "refresh"),
        (SessionTimer(300, True, 1300.0, 0, 1400.0), 1300.0, "expired"),
    ],
)
def test_when_something_is_due(timer: SessionTimer, deadline: float | None, due: str) -> None:
    assert timer.deadline() == deadline
    assert timer.due((deadline or 5000.0) - 0.001) == ""
    assert timer.due(deadline or 5000.0) == due


@pytest.mark.requirement("CNF-28")
@pytest.mark.parametrize(
    ("timer", "min_se", "result"),
    [
        (SessionTimer(), "601", 601),
        (SessionTimer(), "600", None),
        (SessionTimer(300, True, 1.0), "301", 301),
        (SessionTimer(), "x", None),
    ],
)
def test_a_422_is_followed_only_upwards(timer: SessionTimer, min_se: str, result: int | None) -> None:
    raised = session_timer.raised(timer, respond(calling().sent(), 422, lines=(("Min-SE", min_se),)), POLICY)
    assert (raised.min_se if raised else None) == result


# --- reliable responses ---------------------------------------------------------------------------------------


@pytest.mark.requirement("PFS-15", "CNF-33")
@pytest.mark.parametrize(
    ("last", "rseq", "heard"),
    [
        (None, 77, Heard.NEW),
        (77, 78, Heard.NEW),
        (77, 77, Heard.REPEATED),
        (77, 3, Heard.REPEATED),
        (77, 79, Heard.OUT_OF_ORDER),
    ],
)
def test_reliable_responses_in_order(last: int | None, rseq: int, heard: Heard) -> None:
    assert reliable.hear(last, rseq) is heard


@pytest.mark.requirement("PFS-15")
@pytest.mark.parametrize(
    ("status", "lines", "rseq"),
    [
        (183, (("Require", "100rel"), ("RSeq", "5")), 5),
        (180, (("Require", "timer, 100REL"), ("RSeq", "5")), 5),
        (183, (("RSeq", "5"),), None),
        (183, (("Require", "100rel"),), None),
        (183, (("Require", "100rel"), ("RSeq", "x")), None),
        (100, (("Require", "100rel"), ("RSeq", "5")), None),
        (200, (("Require", "100rel"), ("RSeq", "5")), None),
    ],
)
def test_which_responses_are_reliable(status: int, lines: tuple[tuple[str, str], ...], rseq: int | None) -> None:
    assert reliable.rseq_of(respond(calling().sent(), status, lines=lines)) == rseq


@pytest.mark.requirement("PFS-15")
def test_too_many_reliable_responses_do_not_pile_up() -> None:
    state, _ = reliable.send(Reliable(1, 1), Provisional(183, "P"), 0.0)
    for _ in range(reliable.MAX_WAITING):
        state, now = reliable.send(state, Provisional(183, "P"), 0.0)
        assert now is None
    with pytest.raises(ValueError, match="too many"):
        reliable.send(state, Provisional(183, "P"), 0.0)
    rseqs = []
    while state.unanswered:
        rseqs.append(state.rseq)
        state, _ = reliable.acknowledged(state, 0.0)
    assert rseqs == list(range(1, reliable.MAX_WAITING + 2)), "one by one, without a gap"


# --- Replaces -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("CNF-11")
@pytest.mark.parametrize(
    ("lines", "result"),
    [
        ((), None),
        (("98732@sip.example.com;from-tag=r33;to-tag=ff8",), Replaces("98732@sip.example.com", "ff8", "r33")),
        (("12adf ;to-tag=1; from-tag = 2;early-only",), Replaces("12adf", "1", "2", True)),
        (("a@b;TO-TAG=1;FROM-TAG=2;x=y",), Replaces("a@b", "1", "2")),
        (("a@b;to-tag=1",), Refused(400, "Bad Replaces")),
        (("a@b;to-tag=1;from-tag=",), Refused(400, "Bad Replaces")),
        (("a@b;to-tag=1;to-tag=2;from-tag=3",), Refused(400, "Bad Replaces")),
        ((";to-tag=1;from-tag=3",), Refused(400, "Bad Replaces")),
        (("a;to-tag=1;from-tag=3, b;to-tag=1;from-tag=3",), Refused(400, "Bad Replaces")),
        (("a;to-tag=1;from-tag=3", "a;to-tag=1;from-tag=3"), Refused(400, "Bad Replaces")),
        (("a;to-tag=<1>;from-tag=3",), Refused(400, "Bad Replaces")),
    ],
)
def test_the_replaces_header(lines: tuple[str, ...], result: object) -> None:
    message = read(request("INVITE", 1, lines=[("Replaces", line) for line in lines]))
    found = replaces.read(message)
    assert found == result
    if isinstance(found, Replaces):
        assert replaces.read(read(request("INVITE", 1, lines=[("Replaces", str(found))]))) == found


@pytest.mark.requirement("CNF-11")
def test_replaces_belongs_to_an_invite() -> None:
    line = ("Replaces", "a;to-tag=1;from-tag=3")
    assert replaces.read(read(request("REFER", 1, lines=[line]))) == Refused(400, "Bad Replaces")


@pytest.mark.requirement("CNF-11")
@pytest.mark.parametrize(
    ("header", "matches"),
    [
        (Replaces("c", "us", "them"), True),
        (Replaces("c", "them", "us"), False),
        (Replaces("d", "us", "them"), False),
        (Replaces("c", "us", "0"), False),
    ],
)
def test_which_dialog_is_meant(header: Replaces, matches: bool) -> None:
    assert replaces.means(header, "c", "us", "them") is matches
    assert replaces.means(Replaces("c", "us", "0"), "c", "us", "") and replaces.means(
        Replaces("c", "us", "0"), "c", "us", "0"
    )


@pytest.mark.requirement("CNF-11")
@pytest.mark.parametrize(
    ("stages", "early_only", "status"),
    [
        ([Stage.CONFIRMED], False, None),
        ([Stage.CONFIRMED], True, 486),
        ([Stage.EARLY_OURS], False, None),
        ([Stage.EARLY_OURS], True, None),
        ([Stage.EARLY_THEIRS], False, 481),
        ([Stage.ENDED], False, 603),
        ([], False, 481),
        ([Stage.CONFIRMED, Stage.CONFIRMED], False, 481),
    ],
)
def test_what_may_be_replaced(stages: list[Stage], early_only: bool, status: int | None) -> None:
    refused = replaces.judge(Replaces("c", "1", "2", early_only), stages)
    assert (refused.status if refused else None) == status
