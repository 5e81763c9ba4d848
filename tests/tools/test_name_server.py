"""The name server of the bed: the records that SIP domains are found by, and nothing for the rest."""

from __future__ import annotations

import struct

import pytest

from tests.scenarios.name_server import answer

HOSTS = {"home1.example": "10.92.1.1"}
A, SRV, NAPTR = 1, 33, 35


def query(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


@pytest.mark.parametrize(
    ("name", "kind", "code", "data"),
    [
        ("home1.example", A, 0, b"\x0a\x5c\x01\x01"),
        ("HOME1.Example", A, 0, b"\x0a\x5c\x01\x01"),
        ("_sip._udp.home1.example", SRV, 0, b"\0\x0a\0\x0a\x13\xc4\x05home1\x07example\0"),
        ("_sip._tcp.home1.example", SRV, 0, b"\0\x0a\0\x0a\x13\xc4\x05home1\x07example\0"),
        ("home1.example", NAPTR, 0, b""),
        ("_sips._tcp.home1.example", SRV, 3, b""),
        ("home3.example", A, 3, b""),
    ],
)
def test_answers(name: str, kind: int, code: int, data: bytes) -> None:
    asked = query(name, kind)
    found = answer(asked, HOSTS)
    assert struct.unpack_from("!HHHHHH", found) == (7, 0x8580 | code, 1, 1 if data else 0, 0, 0)
    assert found[12 : len(asked)] == asked[12:]
    record = found[len(asked) :]
    assert record[12:] == data
    assert not data or struct.unpack_from("!HHHIH", record) == (0xC00C, kind, 1, 300, len(data))


@pytest.mark.parametrize("data", [b"", b"\0" * 11, b"\0" * 12, query("home1.example", A)[:20]])
def test_what_is_no_query(data: bytes) -> None:
    with pytest.raises((ValueError, struct.error, IndexError)):
        answer(data, HOSTS)
