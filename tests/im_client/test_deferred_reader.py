"""What the Deferred Messaging Function sends, read as it comes: cut anywhere, large content into files."""

from __future__ import annotations

from pathlib import Path

import pytest

from im_client.deferred import DeferredMessage, decode
from im_client.deferred_reader import INLINE_BYTES, MEMORY_BYTES, SendReader, TooLargeError, file_name
from im_client.errors import MalformedMessageError
from tests.im_client.test_deferred import MESSAGE, SESSION

MIXED = 'multipart/mixed; boundary="boundary42"'
CPIM = b"From: <sip:user1@imserver.com>\r\nTo: <sip:user2@imserver.com>\r\n\r\nContent-Type: image/png\r\n\r\n"


def read(kind: str, pieces: list[bytes], directory: Path | None = None) -> list[DeferredMessage]:
    """The messages of one SEND that comes in these pieces."""
    reader = SendReader(kind, directory)
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def session_with(content: bytes, name: str = "") -> bytes:
    """The example of Appendix J with other content."""
    head = f"Content-Disposition: attachment; filename={name}\r\n".encode() if name else b""
    return SESSION.replace(b"Hi, Alice!  I'm Bob!", content).replace(b"Message-ID: 456\r\n", b"Message-ID: 456\r\n" + head)


@pytest.mark.requirement("CLI-06", "DEF-04")
@pytest.mark.parametrize(("kind", "data"), [("message/sip", MESSAGE), (MIXED, SESSION), (MIXED, b"preamble\r\n" + SESSION)])
def test_whole_bytewise_and_cut_anywhere(kind: str, data: bytes, tmp_path: Path) -> None:
    expected = decode(kind, data)
    assert len(expected) == 1
    bytewise = [data[index : index + 1] for index in range(len(data))]
    for pieces in ([data], bytewise, *([data[:cut], data[cut:]] for cut in range(1, len(data), 3))):
        (found,) = read(kind, pieces, tmp_path)
        assert (found.body, found.sender, found.call_id, found.path) == (
            expected[0].body,
            expected[0].sender,
            expected[0].call_id,
            None,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.requirement("CLI-06", "CLI-05")
@pytest.mark.parametrize("step", [1_000, 65_536])
def test_large_content_goes_to_a_file_of_its_name(tmp_path: Path, step: int) -> None:
    content = (
        b"\r\n-------dkei38sd$\r\n--boundary4\r\n" + bytes(index % 256 for index in range(3 * INLINE_BYTES)) + b"\r\n\r\n"
    )
    data = session_with(content, "../sea.png")
    for number in range(2):
        (found,) = read(MIXED, [data[start : start + step] for start in range(0, len(data), step)], tmp_path)
        assert found.path is not None and found.path.parent == tmp_path
        assert (found.path.read_bytes() == content, found.size, found.body) == (True, len(content), b"")
        assert found.path.name == (".._sea.png", ".._sea-2.png")[number].strip(".")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.requirement("CLI-06")
def test_content_in_an_envelope(tmp_path: Path) -> None:
    (found,) = read("message/cpim", [CPIM[:20], CPIM[20:] + b"x" * 10], tmp_path)
    assert (found.sender, found.content_type, found.body) == ("sip:user1@imserver.com", "image/png", b"x" * 10)
    (found,) = read("message/cpim", [CPIM, b"y" * (INLINE_BYTES + 1)], tmp_path)
    assert found.path is not None and found.path.suffix == ".png" and found.size == INLINE_BYTES + 1


def test_without_a_directory_memory_is_bounded() -> None:
    reader = SendReader(MIXED, None)
    reader.feed(session_with(b"").partition(b"\r\n-------dkei")[0])
    with pytest.raises(TooLargeError):
        for _ in range(MEMORY_BYTES // 100_000 + 2):
            reader.feed(b"x" * 100_000)


def test_what_does_not_come_to_an_end_leaves_nothing(tmp_path: Path) -> None:
    reader = SendReader(MIXED, tmp_path)
    reader.feed(session_with(b"x" * 200_000)[:150_000])
    assert len(list(tmp_path.iterdir())) == 1
    reader.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("multipart/mixed", SESSION),
        ("message/sip", b"hi"),
        (MIXED, b"--boundary42\r\nContent-Type: message/msrp\r\n\r\nMSRP a REPORT\r\n\r\n\r\n--boundary42--\r\n"),
        (MIXED, b"--boundary42\r\nContent-Type: message/sip\r\n\r\n" + b"x" * 200_000),
        (MIXED, b"--boundary42\r\n" + b"x" * 200_000),
        ("message/cpim", b"x" * 200_000),
    ],
)
def test_malformed(kind: str, data: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        read(kind, [data])


@pytest.mark.parametrize(
    ("headers", "kind", "name"),
    [
        ({"Content-Disposition": 'attachment; filename="a b.png"'}, "image/png", "a b.png"),
        ({"content-disposition": "attachment; filename=/etc/passwd"}, "text/plain", "_etc_passwd"),
        ({"Content-Disposition": "attachment"}, "image/png", "message-1.png"),
        ({}, "no type", "message-1.bin"),
    ],
)
def test_names_of_files(headers: dict[str, str], kind: str, name: str) -> None:
    assert file_name(DeferredMessage("", "", kind, b"", message_id="1", headers=headers)) == name
