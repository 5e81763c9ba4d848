"""The Reason header (RFC 3326)."""

from __future__ import annotations


def with_text(reason: str, text: str) -> str:
    """A Reason value, with another text where there is one (a quoted string, RFC 3326 section 2)."""
    if not text:
        return reason
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'{reason.partition(";text=")[0]};text="{quoted}"'
