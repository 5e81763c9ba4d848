"""The summary of Appendix K, and privacy in it (DEF-08)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from msrp_worker.deferred import summary
from msrp_worker.deferred.summary import Count, Waiting
from msrp_worker.store import DeferredEntry

GOLDEN = Path(__file__).parent / "golden"
ALICE = DeferredEntry(
    message_id="32098@example.com",
    recipient="sip:charlie@example.com",
    originator="sip:alice@example.org",
    private=False,
    anonymous=False,
    call_id="c",
    cseq=1,
    from_tag="t",
    received=datetime(2000, 7, 10, 4, 23, 1, tzinfo=UTC).timestamp(),
    expires=None,
    size=10,
    content_type="text/plain",
    subject="carpool tomorrow?",
    priority="",
    from_header="sip:alice@example.org;tag=1",
    to_header="<sip:charlie@example.com>",
    content_path=None,
)
JOE = msgspec.structs.replace(
    ALICE,
    message_id="32099@example.com",
    originator="sip:Joe@example.com",
    received=datetime(2000, 7, 10, 4, 25, 12, tzinfo=UTC).timestamp(),
    subject="HELP! at home ill,\r\n present for me please",
    priority="urgent",
    from_header="Joe <sip:Joe@example.com>;tag=2",
)


def body_of(*entries: DeferredEntry) -> bytes:
    counts = summary.waiting((entry.content_type, entry.priority, entry.content_path is not None) for entry in entries)
    return summary.body("sip:charlie@example.com", counts, entries)


@pytest.mark.requirement("DEF-08")
def test_the_summary_of_appendix_k() -> None:
    assert body_of(ALICE, JOE) == (GOLDEN / "summary-k.txt").read_bytes()


@pytest.mark.requirement("DEF-08")
def test_nothing_waits() -> None:
    expected = b"Messages-Waiting: no\r\nMessage-Account: sip:charlie@example.com\r\nText-Message: 0/0 (0/0)\r\n"
    assert body_of() == expected


@pytest.mark.requirement("DEF-08")
@pytest.mark.parametrize(
    ("content_type", "priority", "large", "expected"),
    [
        ("text/html;x=y", "", False, Waiting(Count(1, 0), Count())),
        ("", "Emergency", False, Waiting(Count(1, 1), Count())),
        ("message/CPIM", "non-urgent", False, Waiting(Count(1, 0), Count())),
        ("text/plain", " URGENT ", True, Waiting(Count(), Count(1, 1))),
        ("image/png", "", False, Waiting(Count(), Count(1, 0))),
    ],
)
def test_classes_and_urgency(content_type: str, priority: str, large: bool, expected: Waiting) -> None:
    assert summary.waiting([(content_type, priority, large)]) == expected
    shown = summary.body("sip:a@x", expected, ()).decode()
    assert ("Multimedia-Message: 1/0" in shown) == bool(expected.multimedia.new)


@pytest.mark.requirement("DEF-08", "IDN-04")
@pytest.mark.parametrize("flags", [{"private": True}, {"anonymous": True}])
def test_privacy_is_kept(flags: dict[str, bool]) -> None:
    shown = body_of(msgspec.structs.replace(ALICE, **flags)).decode()
    assert "alice" not in shown
    assert "P-Asserted-Identity" not in shown
    assert 'From: "Anonymous" <sip:anonymous@anonymous.invalid>\r\n' in shown


@pytest.mark.requirement("DEF-08")
def test_headers_are_bounded_and_counts_are_not() -> None:
    shown = body_of(*[ALICE] * 1000)
    assert b"Text-Message: 1000/0 (0/0)" in shown
    assert 30 < shown.count(b"Message-ID: ") < 50
    assert len(shown) < summary.LARGEST_HEADERS + 200


@pytest.mark.requirement("DEF-08", "LRG-04")
def test_a_large_message_says_what_fetching_it_brings() -> None:
    large = msgspec.structs.replace(ALICE, content_path="content/x", content_type="image/png", size=123_456)
    assert "Content-Type: image/png\r\nContent-Length: 123456\r\n" in body_of(large).decode()
    assert "Content-Length" not in body_of(ALICE).decode()


@pytest.mark.requirement("DEF-08", "SEC-05")
def test_what_a_sender_wrote_makes_no_header_of_its_own() -> None:
    evil = msgspec.structs.replace(
        ALICE, subject="a\r\nMessage-ID: 1@x", from_header='"\r\n\r\nx" <sip:e@x>', to_header="", priority="\r\n"
    )
    shown = body_of(evil).decode()
    assert shown.count("\r\nMessage-ID: ") == 1
    assert shown.count("\r\n\r\n") == 1
    assert "To: <sip:charlie@example.com>\r\n" in shown
