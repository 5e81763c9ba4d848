"""The small rules: conditions, who asks, how often, what a conflict report and xcap-caps look like."""

from __future__ import annotations

import pytest

from msrp_worker.xcap import caps, conditions, report
from msrp_worker.xcap.access import account_of, asserted, owner
from msrp_worker.xcap.rate import MAX_KEYS, Rate
from msrp_worker.xcap.report import Conflict, Exists, Kind


@pytest.mark.requirement("XDM-01")
@pytest.mark.parametrize(
    ("method", "if_match", "if_none_match", "etag", "status"),
    [
        ("GET", None, None, "a", None),
        ("GET", None, '"a"', "a", 304),
        ("HEAD", None, 'W/"a"', "a", 304),
        ("GET", None, '"b", "a"', "a", 304),
        ("GET", None, '"b"', "a", None),
        ("GET", None, "*", "a", 304),
        ("PUT", '"a"', None, "a", None),
        ("PUT", '"b", "a"', None, "a", None),
        ("PUT", '"b"', None, "a", 412),
        ("PUT", 'W/"a"', None, "a", 412),  # If-Match compares strongly
        ("PUT", "*", None, "a", None),
        ("PUT", "*", None, None, 412),
        ("PUT", '"a"', None, None, 412),
        ("PUT", None, "*", None, None),
        ("PUT", None, "*", "a", 412),
        ("DELETE", '"b"', None, "a", 412),
        ("DELETE", None, '"a"', "a", 412),
        ("PUT", "a", None, "a", 412),
        ("PUT", "", None, "a", 412),
        ("PUT", None, "nonsense", "a", None),
    ],
)
def test_conditions(
    method: str, if_match: str | None, if_none_match: str | None, etag: str | None, status: int | None
) -> None:
    assert conditions.failed(method, if_match, if_none_match, etag) == status


@pytest.mark.requirement("XDM-06")
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (['"sip:alice@example.com"'], ("sip:alice@example.com",)),
        (["sip:alice@Example.COM"], ("sip:alice@example.com",)),
        (['"sip:alice@example.com", "tel:+1-555-1234"'], ("sip:alice@example.com", "tel:+15551234")),
        (['"sip:a@example.com"', '"sip:b@example.com"'], ("sip:a@example.com", "sip:b@example.com")),
        (["<sip:alice@example.com>"], ("sip:alice@example.com",)),
        ([""], ()),
        (["nobody"], ()),
        (['"mailto:alice@example.com"'], ()),
        ([], ()),
    ],
)
def test_asserted_identities(values: list[str], expected: tuple[str, ...]) -> None:
    assert asserted(values) == expected


@pytest.mark.parametrize(
    ("xui", "expected"),
    [
        ("sip:alice@example.com", "sip:alice@example.com"),
        ("alice@EXAMPLE.com", "sip:alice@example.com"),
        ("alice", "sip:alice@example.com"),
        ("sips:alice@example.com", "sips:alice@example.com"),
        ("tel:+1555", "tel:+1555"),
        ("\0", None),
        ("sip:", None),
        ("a b", None),
    ],
)
def test_whose_tree(xui: str, expected: str | None) -> None:
    assert owner(xui, "example.com") == expected


@pytest.mark.parametrize(
    ("username", "expected"),
    [
        ("alice", ("alice", False)),
        ("alice@example.com", ("alice", True)),
        ("alice@EXAMPLE.com", ("alice", True)),
        ("alice@other.example", None),
        ("@example.com", None),
        ("", None),
    ],
)
def test_whose_password(username: str, expected: tuple[str, bool] | None) -> None:
    assert account_of(username, "example.com") == expected


@pytest.mark.requirement("SEC-02")
def test_a_rate_counts_in_windows() -> None:
    rate = Rate(2, 10.0)
    assert [rate.count("a", now) for now in (0.0, 1.0, 2.0, 9.9)] == [True, True, False, False]
    assert rate.spent("a", 9.0) == pytest.approx(1.0)
    assert (rate.spent("b", 9.0), rate.count("b", 9.0)) == (0.0, True)
    assert (rate.spent("a", 10.0), rate.count("a", 10.0)) == (0.0, True)
    unlimited = Rate(0, 10.0)
    assert all(unlimited.count("a", 0.0) for _ in range(1000)) and unlimited.spent("a", 0.0) == 0.0


@pytest.mark.requirement("SEC-02")
def test_a_rate_remembers_only_so_many() -> None:
    rate = Rate(1, 10.0)
    for number in range(MAX_KEYS + 10):
        rate.count(str(number), 0.0)
    assert len(rate._counted) == MAX_KEYS
    assert rate.spent(str(MAX_KEYS + 9), 0.0) == 10.0


@pytest.mark.requirement("XDM-01")
@pytest.mark.parametrize(
    ("conflict", "element"),
    [
        (Conflict(Kind.NOT_WELL_FORMED), "<not-well-formed/>"),
        (Conflict(Kind.CANNOT_DELETE, 'a "b" <c>\n'), "<cannot-delete phrase='a \"b\" &lt;c&gt; '/>"),
        (
            Conflict(Kind.NO_PARENT, ancestor="a/~~/b%5b1%5d&"),
            "<no-parent><ancestor>a/~~/b%5b1%5d&amp;</ancestor></no-parent>",
        ),
        (
            Conflict(Kind.UNIQUENESS_FAILURE, exists=(Exists("a/@uri", ("x", "y")), Exists("b"))),
            '<uniqueness-failure><exists field="a/@uri"><alt-value>x</alt-value><alt-value>y</alt-value></exists>'
            '<exists field="b"/></uniqueness-failure>',
        ),
    ],
)
def test_conflict_reports(conflict: Conflict, element: str) -> None:
    assert report.build(conflict).decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<xcap-error xmlns="urn:ietf:params:xml:ns:xcap-error">{element}</xcap-error>\n'
    )


@pytest.mark.requirement("XDM-01")
def test_capabilities() -> None:
    assert caps.build(["xcap-caps", "a&b"], ["urn:a", "urn:b"]).decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<xcap-caps xmlns="urn:ietf:params:xml:ns:xcap-caps">\n'
        "  <auids>\n    <auid>xcap-caps</auid>\n    <auid>a&amp;b</auid>\n  </auids>\n"
        "  <extensions/>\n"
        "  <namespaces>\n    <namespace>urn:a</namespace>\n    <namespace>urn:b</namespace>\n  </namespaces>\n"
        "</xcap-caps>\n"
    )
