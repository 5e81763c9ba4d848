"""Which offers are those of a browser (MED-11)."""

from __future__ import annotations

import pytest

from kemi.websocket_offer import is_of_websocket


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
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_browsers(path: str, websocket: bool, end: str) -> None:
    lines = (
        "v=0",
        "c=IN IP4 127.0.0.1",
        "m=message 9 TCP/TLS/MSRP *",
        "a=accept-types:*",
        f"a=path:{path}",
        "a=setup:active",
    )
    body = "".join(line + end for line in lines)
    assert is_of_websocket(body) is websocket
    assert not is_of_websocket(body.replace("m=message", "m=audio"))
