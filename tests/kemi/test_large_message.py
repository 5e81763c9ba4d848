"""Which offers are large messages (PFS-01, LRG-05)."""

from __future__ import annotations

import pytest

from kemi.large_message import LargeMessage, read_large_message

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
LINE = "m=message 2855 TCP/MSRP *\r\na=accept-types:*\r\na=path:msrp://127.0.0.1:2855/x;tcp\r\n"


@pytest.mark.requirement("PFS-01", "LRG-04", "LRG-05")
@pytest.mark.parametrize(
    ("body", "large"),
    [
        (SDP + LINE, False),
        (SDP + LINE + "a=sendonly\r\n", True),
        (SDP + "a=sendonly\r\n" + LINE, True),
        ((SDP + LINE + "a=sendonly\r\n").replace("\r\n", "\n"), True),
        ("--x\r\nContent-Type: application/sdp\r\n\r\n" + SDP + LINE + "a=sendonly\r\n--x--\r\n", True),
        (SDP + LINE + "a=recvonly\r\n", False),
        (SDP + LINE + "a=sendonly-not\r\n", False),
        (SDP + LINE + "a=x:a=sendonly\r\n", False),
        (SDP + LINE + 'a=file-selector:name:"a b" type:text/plain size:5\r\n', True),
        (SDP + LINE + "a=filesize:5\r\n", True),
        (SDP + LINE + "a=filelength:5\r\n", True),
        (SDP + LINE + 'a=recvonly\r\na=file-selector:name:"a" size:5\r\n', False),
        (SDP + LINE + 'a=file-selector:name:"a"\r\n', False),
        (SDP + "m=audio 1 RTP/AVP 0\r\na=sendonly\r\n", False),
        (SDP + LINE + "a=SendOnly\r\n", True),
        (SDP + LINE + "a=RecvOnly\r\na=filesize:5\r\n", False),
        (SDP + LINE + "m=audio 1 RTP/AVP 0\r\na=sendonly\r\n", False),
        (SDP + "m=audio 1 RTP/AVP 0\r\na=recvonly\r\n" + LINE + "a=filesize:5\r\n", True),
        (SDP + "a=sendonly\r\n" + LINE + "a=sendrecv\r\n", False),
        (SDP + "a=recvonly\r\n" + LINE + "a=sendonly\r\n", True),
        (SDP + LINE + LINE + "a=sendonly\r\n", True),
        (SDP + LINE + LINE.replace("2855", "0", 1) + "a=sendonly\r\n", False),
        ("", False),
    ],
)
def test_large_messages(body: str, large: bool) -> None:
    assert (read_large_message(body) is not None) is large


@pytest.mark.requirement("LRG-06", "LRG-05", "PAG-03")
@pytest.mark.parametrize(
    ("lines", "sizes", "types"),
    [
        ('a=file-selector:name:"a b.png" type:image/png size:32349 hash:sha-1:00\r\n', (32349,), ("image/png",)),
        ('a=file-selector:name:"type:a/b size:1" size:5 type:text/plain;charset="utf-8"\r\n', (5,), ("text/plain",)),
        ("a=file-selector:size:7\r\na=file-selector:type:IMAGE/gif size:8\n", (7, 8), ("IMAGE/gif",)),
        ('a=filename:x\na=filetype:"image/png"\na=filesize: 9\n', (9,), ("image/png",)),
        ("a=filelength:10\n", (10,), ()),
        ("a=file-selector:hash:sha-1:00\n", (), ()),
        ("a=file-selector:size:" + "9" * 30 + "\n", (), ()),
        ("b=a=filesize:9\n", (), ()),
    ],
)
def test_what_is_declared(lines: str, sizes: tuple[int, ...], types: tuple[str, ...]) -> None:
    assert read_large_message(SDP + LINE + "a=sendonly\r\n" + lines) == LargeMessage(sizes, types)
