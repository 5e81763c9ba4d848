"""Which offers are large messages (PFS-01, LRG-05)."""

from __future__ import annotations

import pytest

from kemi.large_message import is_large_message, is_of_websocket

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
        ("", False),
    ],
)
def test_large_messages(body: str, large: bool) -> None:
    assert is_large_message(body) is large


@pytest.mark.requirement("MED-11")
@pytest.mark.parametrize(
    ("path", "websocket"),
    [
        ("msrp://127.0.0.1:2855/x;tcp", False),
        ("msrps://x.invalid:9/x;ws", True),
        ("msrps://x.invalid:9/x;WS", True),
        ("msrps://x.invalid:9/x;ws;a=b", True),
        ("msrps://relay.example.com:2855/y;tcp msrps://x.invalid:9/x;ws", True),
        ("msrps://x.invalid:9/ws;tcp", False),
        ("msrps://x.invalid:9/x;wsx", False),
    ],
)
def test_browsers(path: str, websocket: bool) -> None:
    assert is_of_websocket(SDP + LINE.replace("msrp://127.0.0.1:2855/x;tcp", path)) is websocket
    assert not is_of_websocket(SDP + LINE.replace("m=message", "m=audio"))
