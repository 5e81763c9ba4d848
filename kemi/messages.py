"""What Kamailio and the worker say to each other: the one module both sides import.

A *question* (Kamailio to worker) carries the identity of a suspended SIP transaction and is answered exactly once by an
*answer* with the same identity. An *event* (Kamailio to worker) is told and forgotten. A *command* (worker to Kamailio)
asks for something outside a transaction. Every packet is one JSON object in UTF-8; a question that carries a SIP message
has the message's bytes, unchanged, behind the first newline (JSON here never contains a raw newline).

Standard library only, because one side runs inside Kamailio.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

TransactionId: TypeAlias = tuple[int, int]
"""Kamailio's hash index and label of a suspended transaction."""

MAX_PACKET = 1 << 20
"""Bytes of one packet. Kamailio itself takes no SIP message above 128 KiB (tcp_rd_buf_size), so this is never the limit
that a client meets; it bounds what the worker reads at once."""

Json: TypeAlias = dict[str, Any]

PAGER = "pager"
DEFER = "defer"
THIRD_PARTY_REGISTER = "third-party-register"
TRACE = "trace"
ANSWER = "answer"
BEAT = "beat"
RELOAD_SUBSCRIPTIONS = "reload-subscriptions"


@dataclass(frozen=True, slots=True)
class PagerQuestion:
    """Facts about the two ends of a pager mode message; an empty string where an end is not served here."""

    call_id: str
    originator: str
    recipient: str
    anonymous: bool
    serves_originator: bool
    serves_recipient: bool
    method: str = "MESSAGE"


@dataclass(frozen=True, slots=True)
class DeferQuestion:
    """Store the SIP MESSAGE that travels behind the JSON; answered when it is durable (DEF-01)."""

    call_id: str
    cseq: int
    from_tag: str
    originator: str
    recipient: str
    anonymous: bool
    received: float
    expires: float | None
    reason: str
    content_type: str
    subject: str
    priority: str
    from_header: str
    to_header: str


@dataclass(frozen=True, slots=True)
class RegisterQuestion:
    """A third-party REGISTER (COR-06): seconds 0 ends the registration; capable says whether the feature tag is there."""

    call_id: str
    address: str
    seconds: int
    capable: bool


TraceKind: TypeAlias = Literal["received", "refused", "delivered", "failed"]


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One step in the life of a message, for `trace CALL-ID`. Best effort: never worth failing a request for."""

    call_id: str
    kind: TraceKind
    originator: str
    recipient: str
    status: int = 0
    requirement: str = ""
    detail: str = ""


Question: TypeAlias = PagerQuestion | DeferQuestion | RegisterQuestion

_KINDS: dict[str, type[PagerQuestion] | type[DeferQuestion] | type[RegisterQuestion] | type[TraceEvent]] = {
    PAGER: PagerQuestion,
    DEFER: DeferQuestion,
    THIRD_PARTY_REGISTER: RegisterQuestion,
    TRACE: TraceEvent,
}
_NAMES: dict[type, str] = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class EndFacts:
    """What the store knows about one served user. `None` sizes and types mean the service-wide policy."""

    im_allowed: bool = True
    pager_max_size: int | None = None
    content_types: tuple[str, ...] | None = None
    pager_barred: bool = False
    session_barred: bool = False
    willing: bool = True
    originator_rejected: bool = False
    session_originator_rejected: bool = False
    registered: bool = False


@dataclass(frozen=True, slots=True)
class PagerFacts:
    """Answer to `PagerQuestion`; an end is None when it is not served here or unknown."""

    originator: EndFacts | None = None
    recipient: EndFacts | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """Answer to `DeferQuestion`: the Message-ID once durable, else why it was refused."""

    message_id: str = ""
    refusal: Literal["", "quota", "unavailable"] = ""


@dataclass(frozen=True, slots=True)
class Registered:
    """Answer to `RegisterQuestion`."""

    stored: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker could not answer: busy, or a bug (logged there)."""

    detail: str = ""


Answer: TypeAlias = PagerFacts | Deferred | Registered | Failed


@dataclass(frozen=True, slots=True)
class Incoming:
    """A packet as the worker sees it; `transaction` is None for events."""

    transaction: TransactionId | None
    message: Question | TraceEvent
    content: bytes = field(default=b"", repr=False)


def _fields(message: object) -> Json:
    return {name: getattr(message, name) for name in message.__slots__}  # type: ignore[attr-defined]


def encode_question(transaction: TransactionId | None, message: Question | TraceEvent, content: bytes = b"") -> bytes:
    """Build one packet. `content`, when there is any, is carried unchanged."""
    packet = {"packet": _NAMES[type(message)], "id": transaction, **_fields(message)}
    text = json.dumps(packet, separators=(",", ":")).encode()
    return text + b"\n" + content if content else text


def decode_question(packet: bytes) -> Incoming:
    """Read one packet; ValueError when it is not one of ours."""
    text, _, content = packet.partition(b"\n")
    try:
        values = json.loads(text)
        kind = _KINDS[values.pop("packet")]
        identity = values.pop("id")
        return Incoming(None if identity is None else (int(identity[0]), int(identity[1])), kind(**values), content)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"not a packet of the link: {error!r}") from error


def encode_answer(transaction: TransactionId, answer: Answer) -> bytes:
    """Build the command that resumes a suspended transaction with its answer."""
    return json.dumps({"do": ANSWER, "id": transaction, **_answer_body(answer)}, separators=(",", ":")).encode()


def _answer_body(answer: Answer) -> Json:
    match answer:
        case PagerFacts():
            return {
                "of": PAGER,
                "originator": None if answer.originator is None else _fields(answer.originator),
                "recipient": None if answer.recipient is None else _fields(answer.recipient),
            }
        case Deferred():
            return {"of": DEFER, **_fields(answer)}
        case Registered():
            return {"of": THIRD_PARTY_REGISTER, **_fields(answer)}
        case Failed():
            return {"of": "failed", **_fields(answer)}


def encode_command(name: str) -> bytes:
    """Build a command without arguments: BEAT or RELOAD_SUBSCRIPTIONS."""
    return json.dumps({"do": name}, separators=(",", ":")).encode()


def decode_answer(values: Json) -> tuple[TransactionId, Answer]:
    """Read the answer out of a decoded command; ValueError when it is malformed."""
    try:
        identity = (int(values["id"][0]), int(values["id"][1]))
        match values["of"]:
            case "pager":
                return identity, PagerFacts(_end(values["originator"]), _end(values["recipient"]))
            case "defer":
                return identity, Deferred(values["message_id"], values["refusal"])
            case "third-party-register":
                return identity, Registered(values["stored"])
            case "failed":
                return identity, Failed(values["detail"])
            case other:
                raise ValueError(f"unknown answer {other!r}")
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"malformed answer: {error!r}") from error


def _end(values: Json | None) -> EndFacts | None:
    if values is None:
        return None
    types = values["content_types"]
    return EndFacts(**{**values, "content_types": None if types is None else tuple(types)})
