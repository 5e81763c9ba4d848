"""RFC 7701 section 7 and RFC 7700: who gets which nickname."""

import pytest

from msrp_worker.msrp.nicknames import (
    MAX_NICKNAME_BYTES,
    Nicknames,
    comparison_key,
    parse_use_nickname,
    prepare,
)


@pytest.mark.requirement("MED-07")
@pytest.mark.parametrize(
    ("value", "nickname"),
    [
        ('"Alice the great"', "Alice the great"),
        ('""', ""),
        ('"a\\"b\\\\c"', 'a"b\\c'),
        ("Alice", None),
        ('"a"b"', None),
        ('"a\\b"', None),
        ('"' + "x" * MAX_NICKNAME_BYTES + '"', "x" * MAX_NICKNAME_BYTES),
        ('"' + "x" * (MAX_NICKNAME_BYTES + 1) + '"', None),
        ('"' + "é" * 512 + '"', None),
    ],
)
def test_header(value: str, nickname: str | None) -> None:
    assert parse_use_nickname(value) == nickname


@pytest.mark.requirement("MED-07")
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Foo", "foo", True),
        ("  Foo   Bar ", "foo bar", True),
        ("foo\u00a0bar", "foo bar", True),
        ("\u03a3", "\u03c3", True),
        ("\u2163", "iv", True),  # compatibility: the Roman numeral
        ("BOY", "B0Y", False),
        ("foo", "fo o", False),
    ],
)
def test_comparison(one: str, other: str, same: bool) -> None:
    keys = [comparison_key(prepared) for text in (one, other) if (prepared := prepare(text)) is not None]
    assert len(keys) == 2
    assert (keys[0] == keys[1]) is same


@pytest.mark.parametrize("text", ["", "   ", "a\x07b", "a\u200bb", "\ue000", "\ud800"])
def test_not_allowed(text: str) -> None:
    assert prepare(text) is None


@pytest.mark.requirement("MED-07")
def test_uniqueness_and_change() -> None:
    names = Nicknames(reserved=("Operator",))
    assert names.use("s1", "alice", '"Al"', 0) == 200
    assert names.use("s2", "bob", '"al"', 0) == 425
    assert names.use("s2", "bob", '"OPERATOR"', 0) == 425
    assert names.use("s2", "bob", "al", 0) == 424
    assert names.use("s2", "bob", '"\x07"', 0) == 424
    assert names.of("s2") is None
    assert names.use("s3", "alice", '"AL"', 0) == 200  # the same user elsewhere
    assert names.use("s3", "alice", '"AL"', 0) == 200  # again
    assert names.of("s3") == "AL"
    names.release("s1", 0)
    assert names.use("s3", "alice", '"AL"', 0) == 200
    assert names.of("s3") == "AL"
    assert names.use("s1", "alice", '"Lice"', 0) == 200
    assert (names.of("s1"), names.of("s3")) == ("Lice", "AL")
    assert names.use("s2", "bob", '"al"', 0) == 425  # s3 still has it
    assert names.use("s1", "alice", '"Operator"', 0) == 425
    assert names.of("s1") == "Lice"  # a failed change changes nothing
    names.release("s3", 0)
    assert names.use("s2", "bob", '"al"', 0) == 200
    assert names.use("s1", "alice", '""', 0) == 200
    assert names.of("s1") is None
    names.release("s9", 0)


@pytest.mark.requirement("MED-07")
def test_quarantine_keeps_it_for_its_holder() -> None:
    names = Nicknames(quarantine=60)
    names.use("s1", "alice", '"al"', 0)
    names.release("s1", 10)
    assert names.use("s2", "bob", '"al"', 69) == 425
    assert names.use("s3", "alice", '"al"', 69) == 200
    names.release("s3", 100)
    names.tick(161)
    assert names.use("s2", "bob", '"al"', 161) == 200
