"""Session timers (RFC 4028): who refreshes, when, and what a short interval is answered."""

from __future__ import annotations

import pytest
from sipmessage import Headers

from im_client.session_timer import (
    Refresher,
    SessionExpires,
    SessionTimer,
    TimerPolicy,
    grant,
    granted,
    parse_min_se,
    parse_session_expires,
    refresh_fields,
    refusal,
    request_fields,
    too_small,
)

UAC, UAS = Refresher.UAC, Refresher.UAS


def headers(**fields: str) -> Headers:
    found = Headers()
    for name, value in fields.items():
        found.add(name.replace("_", "-"), value)
    return found


TIMER = {"Supported": "100rel, timer"}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1800", SessionExpires(1800)),
        ("1800;refresher=uac", SessionExpires(1800, UAC)),
        ("90 ; Refresher = UAS", SessionExpires(90, UAS)),
        ("90;refresher=me", SessionExpires(90)),
        ("90;x=y", SessionExpires(90)),
        ("-1", None),
        ("", None),
        ("12345678901", None),
        ("١٢", None),
    ],
)
def test_session_expires(value: str, found: SessionExpires | None) -> None:
    assert parse_session_expires(headers(Session_Expires=value)) == found


def test_min_se() -> None:
    assert parse_min_se(headers(Min_SE="120;x=y")) == 120
    assert parse_min_se(headers(Min_SE="soon")) is None
    assert parse_min_se(headers()) is None


@pytest.mark.requirement("CLI-02")
def test_a_request_asks_to_refresh_by_itself() -> None:
    assert request_fields(TimerPolicy()) == [("Session-Expires", "1800;refresher=uac")]
    assert request_fields(TimerPolicy(interval=0)) == []
    larger = request_fields(TimerPolicy(interval=90), 300)
    assert larger == [("Session-Expires", "300;refresher=uac"), ("Min-SE", "300")]


# RFC 4028 table 2
TABLE_2 = [
    # Supported: timer, Session-Expires asked, this side refreshes, Session-Expires granted, Require
    (False, "100", True, "100;refresher=uas", False),
    (True, "100", True, "100;refresher=uas", True),
    (True, "100;refresher=uac", False, "100;refresher=uac", True),
    (True, "100;refresher=uas", True, "100;refresher=uas", True),
]


@pytest.mark.parametrize(("supported", "asked", "refreshing", "value", "require"), TABLE_2)
@pytest.mark.requirement("CLI-04")
def test_table_2(supported: bool, asked: str, refreshing: bool, value: str, require: bool) -> None:
    found = headers(Session_Expires=asked, **(TIMER if supported else {}))
    timer, fields = grant(SessionTimer(), TimerPolicy(), found, 50.0)
    assert (timer.interval, timer.refreshing, timer.since) == (100, refreshing, 50.0)
    assert fields == [("Session-Expires", value), *([("Require", "timer")] if require else [])]


def test_a_peer_that_knows_timers_but_asks_for_none_gets_ours() -> None:
    timer, fields = grant(SessionTimer(), TimerPolicy(interval=600), headers(Min_SE="700", **TIMER), 0.0)
    assert (timer.interval, timer.refreshing, timer.min_se) == (700, True, 700)
    assert fields[0] == ("Session-Expires", "700;refresher=uas")
    assert grant(SessionTimer(), TimerPolicy(), headers(), 0.0) == (SessionTimer(since=0.0), [])
    assert grant(SessionTimer(), TimerPolicy(interval=0), headers(**TIMER), 0.0)[1] == []


@pytest.mark.parametrize(
    ("asked", "answer", "interval", "refreshing"),
    [
        (SessionExpires(1800, UAC), {"Session-Expires": "900;refresher=uac"}, 900, True),
        (SessionExpires(1800, UAC), {"Session-Expires": "900;refresher=uas"}, 900, False),
        (None, {"Session-Expires": "900;refresher=uac"}, 900, True),
        (SessionExpires(1800, UAC), {}, 1800, True),  # a peer without timers: ours alone
        (SessionExpires(1800, UAC), TIMER, None, False),  # a peer that turns it off
        (None, {}, None, False),
    ],
)
def test_what_a_2xx_grants(
    asked: SessionExpires | None, answer: dict[str, str], interval: int | None, refreshing: bool
) -> None:
    found = headers(**{name.replace("-", "_"): value for name, value in answer.items()})
    timer = granted(SessionTimer(), asked, found, 7.0)
    assert (timer.interval, timer.refreshing, timer.since) == (interval, refreshing, 7.0)


@pytest.mark.parametrize(
    ("timer", "refresh", "expiry"),
    [
        (SessionTimer(1800, True, 100.0), 1000.0, 1900.0),
        (SessionTimer(1800, False, 100.0), None, 1868.0),  # 32 s before the end
        (SessionTimer(90, False, 100.0), None, 160.0),  # a third of a short one
        (SessionTimer(None, True, 100.0), None, None),
    ],
)
@pytest.mark.requirement("CLI-03")
def test_when_to_refresh_and_when_to_release(timer: SessionTimer, refresh: float | None, expiry: float | None) -> None:
    assert (timer.refresh_at, timer.expires_at) == (refresh, expiry)


def test_a_refresh_keeps_the_roles_and_the_largest_min_se() -> None:
    assert refresh_fields(SessionTimer(100, True)) == [("Session-Expires", "100;refresher=uac")]
    assert refresh_fields(SessionTimer(100, False)) == [("Session-Expires", "100;refresher=uas")]
    expected = [("Session-Expires", "200;refresher=uac"), ("Min-SE", "200")]
    assert refresh_fields(SessionTimer(100, True, min_se=200)) == expected
    assert refresh_fields(SessionTimer()) == []


def test_422() -> None:
    policy = TimerPolicy(min_se=120)
    assert refusal(policy, headers(Session_Expires="119", **TIMER)) == [("Min-SE", "120")]
    assert refusal(policy, headers(Session_Expires="120", **TIMER)) is None
    assert refusal(policy, headers(Session_Expires="10")) is None  # its proxy asked; the peer could not react
    larger = too_small(SessionTimer(), headers(Min_SE="120"))
    assert larger is not None
    assert larger.min_se == 120
    assert too_small(larger, headers(Min_SE="120")) is None  # the same again: no use
    assert too_small(larger, headers()) is None
