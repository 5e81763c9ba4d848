"""Finding the end-line of a frame (RFC 4975 section 9). No I/O.

end-line = "-------" transact-id continuation-flag CRLF. Lines of other transactions, longer identifiers that begin like
this one, and other flags are content.
"""

from __future__ import annotations

from typing import Final

FLAGS: Final = {b"+\r\n": "+", b"$\r\n": "$", b"#\r\n": "#"}
"""What follows the transaction id, continuation-flag CRLF, and the flag in it."""
_END_LINE_STARTS: Final = frozenset((b"", b"+", b"$", b"#", b"+\r", b"$\r", b"#\r"))

WINDOW = 16_384
"""Bytes searched at first. Beyond 30,000 `bytes.find` prepares tables that cost more than the search of a usual frame."""


def find_end_line(buffer: bytes, marker: bytes, position: int) -> int:
    """Where the end-line that begins with `marker` (CRLF, hyphens, transaction id) stands from `position` on, or -1."""
    found = buffer.find(marker, position, position + WINDOW)
    if found < 0:
        position += WINDOW - len(marker) + 1
        if position >= len(buffer):
            return -1
        found = buffer.find(marker, position)
    while found >= 0:
        after = found + len(marker)
        if buffer[after : after + 3] in FLAGS:
            return found
        found = buffer.find(marker, found + 1)
    return -1


def possible_end_line(buffer: bytes, marker: bytes, position: int) -> int:
    """Where a tail begins that could turn out to be the end-line; the size of the buffer if there is none."""
    size = len(buffer)
    length = len(marker)
    found = buffer.find(b"\r", max(position, size - length - 2))
    while found >= 0:
        tail = buffer[found:]
        if marker.startswith(tail) or (tail.startswith(marker) and tail[length:] in _END_LINE_STARTS):
            return found
        found = buffer.find(b"\r", found + 1)
    return size
