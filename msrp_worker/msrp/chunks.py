"""Complete chunks of a message as bytes (RFC 4975 section 7.1.1). No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .outgoing import OutgoingMessage

UNINTERRUPTED_BYTES = 2_048
"""Content a chunk may have without being interruptible, and below which none should be cut (section
7.1.1)."""


def encode_chunks(
    message: OutgoingMessage, bodies: Sequence[bytes], start: int, flag: str, idents: Iterator[str], *, single_frames: bool
) -> tuple[list[str], list[bytes]]:
    """Chunks one after the other, equally long, the first one from offset `start` of the message on: their transaction
    ids and what to write. All end with `flag`. With `single_frames` each is one piece; else bodies are left as they are,
    with what stands between two of them in one piece."""
    size = len(bodies[0])
    total: object = message.total
    if total is None:
        total = start + size if flag == "$" else "*"
    before = f" SEND\r\n{message.session.path_block}Message-ID: {message.message_id}\r\nByte-Range: "
    after = f"/{total}\r\n{message.head}"
    interruptible = size > UNINTERRUPTED_BYTES
    sent: list[str] = []
    out: list[bytes] = []
    end_line = ""
    for body in bodies:
        ident = next(idents)
        while f"-------{ident}".encode() in body:  # the sender MUST ensure that the end-line is not
            ident = next(idents)
        last: object = "*" if interruptible else start + size
        out += (f"{end_line}MSRP {ident}{before}{start + 1}-{last}{after}".encode(), body)
        end_line = f"\r\n-------{ident}{flag}\r\n"
        if single_frames:
            out[-2:] = (out[-2] + body + end_line.encode(),)
            end_line = ""
        sent.append(ident)
        start += size
    if end_line:
        out.append(end_line.encode())
    return sent, out
