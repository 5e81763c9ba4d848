"""What Kamailio tells of the life of messages, for `trace CALL-ID`: events as lines of a batch.

Standard library only, because one side runs inside Kamailio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

TraceKind: TypeAlias = Literal["refused", "delivered", "failed", "forwarded", "deferring"]


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One step in the life of a message, for `trace CALL-ID`. Best effort: never worth failing a request for.

    `time` and `received` are seconds since 1970: when the step was, and when the request had come in.
    """

    call_id: str
    kind: TraceKind
    originator: str
    recipient: str
    status: int = 0
    requirement: str = ""
    detail: str = ""
    time: float = 0.0
    received: float = 0.0


_SEPARATOR = "\t"


def trace_line(event: TraceEvent) -> str:
    """One event as a line. The native routes of `im.cfg` build the same line for what they see."""
    parts = (
        f"{event.time:.6f}",
        event.kind,
        str(event.status),
        event.requirement,
        event.call_id,
        f"{event.received:.6f}",
        event.originator,
        event.recipient,
        event.detail,
    )
    return _SEPARATOR.join(part.replace(_SEPARATOR, " ").replace("\n", " ") for part in parts)


def read_trace_lines(content: bytes) -> list[TraceEvent]:
    """The events of a batch; a line that is not one is left out."""
    events = []
    for line in content.decode("utf-8", "replace").split("\n"):
        parts = line.split(_SEPARATOR, 8)
        if len(parts) != 9:
            continue
        try:
            time, status, received = float(parts[0]), int(parts[2] or 0), float(parts[5] or 0)
        except ValueError:
            continue
        events.append(
            TraceEvent(parts[4], parts[1], parts[6], parts[7], status, parts[3], parts[8], time, received)  # type: ignore[arg-type]
        )
    return events


_REGISTERED = b"registered\t"


def read_registered_lines(content: bytes) -> list[str]:
    """Addresses whose IM registration succeeded, among the lines of a batch: `registered`, a tab, the address (COR-09)."""
    lines = (line for line in content.split(b"\n") if line.startswith(_REGISTERED))
    return list(dict.fromkeys(line.removeprefix(_REGISTERED).decode("utf-8", "replace") for line in lines))
