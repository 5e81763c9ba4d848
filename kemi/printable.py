"""Text of strangers made fit for headers and logs."""

from __future__ import annotations


def sent_safely(text: str) -> str:
    """Text that may go into a header or a log line: no line ends, no NUL, no surrogates (they crash the C side)."""
    return text if text.isascii() and text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def quoted(text: str) -> str:
    """Text as a quoted-string (RFC 3261 section 25.1): whatever a client has put into it, it ends where it should."""
    return '"' + sent_safely(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def sent_safely_line(text: str) -> str:
    """A trace line: its separators kept, everything else printable."""
    return "\t".join(sent_safely(part) for part in text.split("\t"))


def sent_lines(text: str) -> str:
    """A traceback for the log: line ends kept, everything else printable."""
    return "\n".join(sent_safely(line) for line in text.splitlines())
