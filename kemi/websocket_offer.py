"""Which INVITEs come from an MSRP client on WebSocket, a browser as a rule (RFC 7977). Pure."""

from __future__ import annotations

import re

_PATH = re.compile(r"^a=path:.*;ws(?:;\S*)?[ \t\r]*$", re.MULTILINE | re.IGNORECASE)
_MESSAGE = re.compile(r"^m=message ", re.MULTILINE | re.IGNORECASE)


def is_of_websocket(body: str) -> bool:
    """Whether a body offers MSRP over WebSocket: only a server can be the peer of that client (section 5.2.2)."""  # MED-11
    return _MESSAGE.search(body) is not None and _PATH.search(body) is not None
