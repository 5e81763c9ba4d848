"""Which INVITEs bring a large message or file (9.1.1.2, 9.4, 10.3.2.2). Pure; the worker reads the whole description."""

from __future__ import annotations

import re

# An attribute line, whatever follows it; line ends as SDP allows them (RFC 8866 section 5).
_SENDONLY = re.compile(r"^a=sendonly[ \t\r]*$", re.MULTILINE)
_RECVONLY = re.compile(r"^a=recvonly[ \t\r]*$", re.MULTILINE)
_SIZE = re.compile(r"^a=(?:filesize:|filelength:|file-selector:.*\bsize:)", re.MULTILINE | re.IGNORECASE)
_WEBSOCKET = re.compile(r"^a=path:.*;ws(?:;\S*)?\s*$", re.MULTILINE | re.IGNORECASE)
_MESSAGE = re.compile(r"^m=message ", re.MULTILINE | re.IGNORECASE)


def is_large_message(body: str) -> bool:
    """Whether a body has an offer of MSRP that is sendonly, or announces content of some size to be sent."""
    if _MESSAGE.search(body) is None:
        return False
    return _SENDONLY.search(body) is not None or (_SIZE.search(body) is not None and _RECVONLY.search(body) is None)


def is_of_websocket(body: str) -> bool:
    """Whether a body has an offer of MSRP over WebSocket: only a server can be the peer of that client (RFC 7977 5.2.2)."""
    return _MESSAGE.search(body) is not None and _WEBSOCKET.search(body) is not None  # MED-11
