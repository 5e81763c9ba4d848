"""What waits in the deferred messages of a user: application/simple-message-summary (RFC 3842 section 5.2). Pure.

Clause 10.3.2.6 adds fields per message: To, From, Subject, Date, Priority, Message-ID, P-Asserted-Identity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import MalformedMessageError

CONTENT_TYPE = "application/simple-message-summary"
MAX_MESSAGES = 100_000
"""Messages read from one summary: above what any store keeps for a user."""

_COUNTS = re.compile(r"([0-9]{1,10})\s*/\s*([0-9]{1,10})(?:\s*\(\s*([0-9]{1,10})\s*/\s*([0-9]{1,10})\s*\))?")


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages of one class."""

    new: int
    old: int
    new_urgent: int = 0
    old_urgent: int = 0


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """One message that waits; `headers` in their order, names as received."""

    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str:
        """The first value, empty where there is none."""
        return next((value for found, value in self.headers if found.lower() == name.lower()), "")

    @property
    def message_id(self) -> str:
        return self.header("Message-ID").strip("<>")

    @property
    def sender(self) -> str:
        return self.header("P-Asserted-Identity") or self.header("From")


@dataclass(frozen=True, slots=True)
class Summary:
    """`counts` by message context class in lower case, such as text-message."""

    waiting: bool
    account: str = ""
    counts: tuple[tuple[str, Counts], ...] = ()
    messages: tuple[WaitingMessage, ...] = ()

    def count(self, kind: str = "text-message") -> Counts:
        return dict(self.counts).get(kind.lower(), Counts(0, 0))


def parse(data: bytes) -> Summary:
    """A summary. Raises MalformedMessageError. CLI-06"""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    blocks = [block for block in re.split(r"\n[ \t]*(?=\n)", re.sub(r"\n[ \t]+(?=\S)", " ", text)) if block.strip()]
    if not blocks or len(blocks) > MAX_MESSAGES:
        raise MalformedMessageError("a message summary without its first line, or with too many messages")
    head, counts, account, messages = _fields(blocks[0]), [], "", [_fields(block) for block in blocks[1:]]
    status = head[0][1].lower() if head and head[0][0].lower() == "messages-waiting" else ""
    if status not in ("yes", "no"):
        raise MalformedMessageError("a message summary begins with Messages-Waiting")
    # COMPAT(Appendix K): its example writes the fields of the messages without empty lines between them.
    rest: list[tuple[str, str]] = []
    for name, value in head[1:]:
        match = _COUNTS.fullmatch(value)
        if name.lower() == "message-account" and not rest:
            account = value
        elif match is not None and not rest:
            counts.append((name.lower(), Counts(*(int(number or 0) for number in match.groups()))))
        else:
            rest.append((name, value))
    messages = [*_split(rest), *messages]
    return Summary(status == "yes", account, tuple(counts), tuple(WaitingMessage(tuple(one)) for one in messages))


def _fields(block: str) -> list[tuple[str, str]]:
    found = []
    for line in filter(str.strip, block.split("\n")):
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedMessageError(f"not a line of a message summary: {line[:60]!r}")
        found.append((name.strip(), value.strip()))
    return found


def _split(fields: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Fields without empty lines between the messages: a name seen before begins the next."""
    messages: list[list[tuple[str, str]]] = []
    for name, value in fields:
        if not messages or name.lower() in {found.lower() for found, _ in messages[-1]}:
            messages.append([])
        messages[-1].append((name, value))
    return messages
