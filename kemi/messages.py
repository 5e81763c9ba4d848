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

LARGEST_SETTINGS = 1 << 16
"""Bytes of a document of service settings (SEC-05). Real ones have 1 KB."""

INACCESSIBLE = frozenset({404, 408, 410, 430, 477, 480, 500, 503, 504})
"""Final responses after which a recipient counts as inaccessible and a message is deferred (6.2.8.2, 6.2.8.3): no client of
his has decided (404, 410: who has its address now). Its own refusals (486, 603, 415 and the like) go back to the sender."""

PAGER = "pager"
DEFER = "defer"
THIRD_PARTY_REGISTER = "third-party-register"
PUBLISH = "publish"
FOCUS = "focus"
SIP_REQUEST = "sip-request"
SIP_EVENT = "sip-event"
SEND_REQUEST = "send-request"
CANCEL_INVITE = "cancel-invite"
TRACES = "traces"
SETTLE = "settle"
OPERATE = "operate"
ABANDONED = "abandoned"
ANSWER = "answer"
BEAT = "beat"
RELOAD_SUBSCRIPTIONS = "reload-subscriptions"
WAITING = "waiting"
KEEP = "keep"
KEEP_COMMAND = json.dumps({"do": KEEP})
"""Does nothing; Kamailio sends it to itself, so that its connection to itself stands before it is needed."""


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
    from_tag: str = ""
    """Of an INVITE that a separate core sends: it may be one of the worker's."""


@dataclass(frozen=True, slots=True)
class DeferQuestion:
    """Store the SIP MESSAGE that travels behind the JSON; answered when it is durable (DEF-01)."""

    call_id: str
    originator: str
    recipient: str
    anonymous: bool
    received: float
    expires: float | None
    reason: str
    advertisement: bool = False
    """Only for devices that take group advertisements (ADV-03)."""


@dataclass(frozen=True, slots=True)
class RegisterQuestion:
    """A third-party REGISTER (COR-06): seconds 0 ends the registration; capable says whether the feature tag is there."""

    call_id: str
    address: str
    seconds: int
    capable: bool


@dataclass(frozen=True, slots=True)
class PublishQuestion:
    """A PUBLISH of service settings (6.2.5); the document, where there is one, travels behind the JSON.

    `if_match` is the entity-tag of SIP-If-Match, empty for an initial publication; `seconds` is Expires, None when the
    client leaves it to us.
    """

    call_id: str
    address: str
    if_match: str
    seconds: int | None


@dataclass(frozen=True, slots=True)
class FocusQuestion:
    """Which focus stands behind a Contact of ours, whose user part this is (PFS-06, PFS-11)."""

    call_id: str
    user: str


LegFunction: TypeAlias = Literal["", "participating", "deferring", "deferred", "controlling", "history"]
"""What a new leg is to be: a participating function in the media path, the store that takes a large message for an absent
recipient (LRG-04), the Deferred Messaging Function itself (DEF-07, DEF-08), the focus, the History Function. Empty within
a dialog."""


@dataclass(frozen=True, slots=True)
class SipRequest:
    """A request for a leg of the worker: its transaction waits for the worker's replies. The message travels behind."""

    call_id: str
    method: str
    cseq: int = 0
    from_tag: str = ""
    originator: str = ""
    source: str = ""
    """`address:port;transport` it came from."""
    function: LegFunction = ""
    recipient: str = ""
    """Canonical address of the Request-URI of an initial request."""
    target: str = ""
    """Its Request-URI with the parameters, without those for the participating function."""
    anonymous: bool = False
    records_originator: bool = False
    records_recipient: bool = False
    """Whose history the session belongs into (PFS-14)."""
    side: Literal["", "originating", "terminating"] = ""
    """The side that a separate core asked (COR-05); empty where this Kamailio is the core."""
    core_route: str = ""
    """Route values that lead back to that core, with what it marks the dialog by; empty when it sent none."""
    core_reached: str = ""
    """`address:port` at which that core reached us."""
    core_socket: str = ""
    """The same as Kamailio listens, where it advertises another."""


SipEventKind: TypeAlias = Literal["response", "timeout", "ack", "cancelled"]


@dataclass(frozen=True, slots=True)
class SipEvent:
    """What else happened to a leg: a response to its request, no response, an ACK, or the INVITE that waited was
    cancelled. The message, where there is one, travels behind; the tags are those of its From and To."""

    call_id: str
    kind: SipEventKind
    method: str
    cseq: int
    from_tag: str = ""
    to_tag: str = ""


@dataclass(frozen=True, slots=True)
class SendRequest:
    """A request for Kamailio to send: whole header lines with line ends, without Via, Max-Forwards and Content-Length."""

    method: str
    request_uri: str
    next_hop: str
    headers: str
    body: str = ""


@dataclass(frozen=True, slots=True)
class TraceBatch:
    """Trace events in order; they travel as lines behind the JSON."""

    call_id: str = "-"


@dataclass(frozen=True, slots=True)
class Settle:
    """An operator's command has changed the database: answered when Kamailio has been told (SET-07)."""

    call_id: str = "-"


@dataclass(frozen=True, slots=True)
class Operate:
    """An operator's command asks the worker; its request, which concerns Kamailio in nothing, travels behind."""

    call_id: str = "-"


@dataclass(frozen=True, slots=True)
class AbandonedInvites:
    """INVITEs that the worker before this one was given and has not answered: a transaction per line behind the JSON."""

    call_id: str = "-"


Question: TypeAlias = PagerQuestion | DeferQuestion | RegisterQuestion | PublishQuestion | FocusQuestion | SipRequest

Message: TypeAlias = Question | SipEvent | TraceBatch | Settle | AbandonedInvites | Operate

_KINDS: dict[str, type[Message]] = {
    PAGER: PagerQuestion,
    DEFER: DeferQuestion,
    THIRD_PARTY_REGISTER: RegisterQuestion,
    PUBLISH: PublishQuestion,
    FOCUS: FocusQuestion,
    SIP_REQUEST: SipRequest,
    SIP_EVENT: SipEvent,
    TRACES: TraceBatch,
    SETTLE: Settle,
    OPERATE: Operate,
    ABANDONED: AbandonedInvites,
}
_NAMES: dict[type, str] = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class EndFacts:
    """What the store knows about one served user. `None` sizes and types mean the service-wide policy."""

    im_allowed: bool = True
    pager_max_size: int | None = None
    content_types: tuple[str, ...] | None = None
    large_max_size: int | None = None
    pager_barred: bool = False
    session_barred: bool = False
    willing: bool = True
    originator_rejected: bool = False
    session_originator_rejected: bool = False
    registered: bool = False
    offline_delivery: bool = False
    """Deferred messages are pushed when the user is there again (DEF-06)."""
    visible: bool = True
    """Others may see the user (PRS-02)."""
    session_history: bool = False
    """Sessions are recorded without further request (HIS-07)."""
    message_history: bool = False
    """Pager mode and large messages are recorded without further request (HIS-07)."""
    group: bool = False
    """The address is that of a group, not of a user (XDM-02); the other facts say nothing then."""
    has_rules: bool = False
    """Whether `originator_rejected` depends on the originator: such facts are good for one message only."""


@dataclass(frozen=True, slots=True)
class PagerFacts:
    """Answer to `PagerQuestion`; an end is None when it is not served here or unknown."""

    originator: EndFacts | None = None
    recipient: EndFacts | None = None
    revision: int = -1
    """State of the store that the facts are of; -1 when it is not known."""
    media_at: str = ""
    """Which function of the worker sent this INVITE, and so has its media; empty when none did."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """Answer to `DeferQuestion`: the Message-ID once durable, else why it was refused."""

    message_id: str = ""
    refusal: Literal["", "quota", "expired", "unavailable"] = ""


@dataclass(frozen=True, slots=True)
class Registered:
    """Answer to `RegisterQuestion`."""

    stored: bool


@dataclass(frozen=True, slots=True)
class Published:
    """Answer to `PublishQuestion`: the new entity-tag and for how many seconds it holds, else why it was refused.

    With "too brief" `seconds` is the least that is granted; `detail` is for people.
    """

    etag: str = ""
    seconds: int = 0
    refusal: Literal["", "unknown user", "unknown tag", "too brief", "malformed", "unavailable"] = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Focus:
    """Answer to `FocusQuestion`: the URI of the focus, empty when there is none."""

    uri: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker could not answer: busy, or a bug (logged there)."""

    detail: str = ""


Answer: TypeAlias = PagerFacts | Deferred | Registered | Published | Focus | Failed


@dataclass(frozen=True, slots=True)
class Incoming:
    """A packet as the worker sees it; `transaction` is None for events."""

    transaction: TransactionId | None
    message: Message
    content: bytes = field(default=b"", repr=False)
    until: float = 0.0
    """When the sender of a suspended request is told 503, seconds since 1970: nothing may be done for it afterwards, as
    the sender will try again (SEC-06). 0: never."""


def _fields(message: object) -> Json:
    return {name: getattr(message, name) for name in message.__slots__}  # type: ignore[attr-defined]


def encode_question(transaction: TransactionId | None, message: Message, content: bytes = b"", until: float = 0.0) -> bytes:
    """Build one packet. `content`, when there is any, is carried unchanged; `until` as in `Incoming`."""
    packet = {"packet": _NAMES[type(message)], "id": transaction, "until": until, **_fields(message)}
    text = json.dumps(packet, separators=(",", ":")).encode()
    return text + b"\n" + content if content else text


def decode_question(packet: bytes) -> Incoming:
    """Read one packet; ValueError when it is not one of ours."""
    text, _, content = packet.partition(b"\n")
    try:
        values = json.loads(text)
        kind = _KINDS[values.pop("packet")]
        identity = values.pop("id")
        until = float(values.pop("until"))
        if values.get("waiting") is not None:  # JSON knows lists, a transaction is a pair
            values["waiting"] = _pair(values["waiting"])
        return Incoming(None if identity is None else _pair(identity), kind(**values), content, until)
    except (KeyError, TypeError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"not a packet of the link: {error!r}") from error


def _pair(values: Any) -> TransactionId:
    return int(values[0]), int(values[1])


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
                "revision": answer.revision,
                "media_at": answer.media_at,
            }
        case Deferred():
            return {"of": DEFER, **_fields(answer)}
        case Registered():
            return {"of": THIRD_PARTY_REGISTER, **_fields(answer)}
        case Published():
            return {"of": PUBLISH, **_fields(answer)}
        case Focus():
            return {"of": FOCUS, **_fields(answer)}
        case Failed():
            return {"of": "failed", **_fields(answer)}


def encode_command(name: str, revision: int = -1) -> bytes:
    """Build a command: BEAT, with the revision of the store (-1 unknown), or RELOAD_SUBSCRIPTIONS."""
    return json.dumps({"do": name, "revision": revision}, separators=(",", ":")).encode()


def encode_ask_waiting(before: int) -> bytes:
    """Build the command that asks for the INVITEs which wait since before that moment (tenths of a second of the monotonic
    clock, which all processes of a host share).
    """
    return json.dumps({"do": WAITING, "before": before}, separators=(",", ":")).encode()


def waiting_key(transaction: TransactionId) -> str:
    """A transaction as the table of waiting INVITEs names it, and `tm.reply`."""
    return f"{transaction[0]}:{transaction[1]}"


def read_waiting_keys(content: bytes) -> list[TransactionId]:
    """The transactions of an `AbandonedInvites`; ValueError when they are malformed."""
    return [_pair(line.split(":")) for line in content.decode("ascii").splitlines()]


def encode_send_request(request: SendRequest) -> bytes:
    """Build the command that makes Kamailio send a request."""
    return json.dumps({"do": SEND_REQUEST, **_fields(request)}, separators=(",", ":")).encode()


def decode_send_request(values: Json) -> SendRequest:
    """The request of a decoded command; ValueError when it is malformed."""
    try:
        return SendRequest(**{name: str(values[name]) for name in SendRequest.__slots__})
    except KeyError as error:
        raise ValueError(f"malformed request: {error!r}") from error


def not_sent(request: SendRequest) -> SipEvent:
    """What a leg is told of a request that could not even be sent: no response will come."""
    fields = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in request.headers.split("\r\n"))
    }
    tags = [
        fields.get(name, "").rpartition(";tag=")[2] if ";tag=" in fields.get(name, "") else "" for name in ("from", "to")
    ]
    number = fields.get("cseq", "").partition(" ")[0]
    return SipEvent(
        fields.get("call-id", ""),
        "timeout",
        request.method,
        int(number) if number.isdigit() else 0,
        tags[0].partition(";")[0],
        tags[1].partition(";")[0],
    )


def encode_cancel(call_id: str, cseq: int) -> bytes:
    """Build the command that cancels an INVITE which Kamailio sent for the worker."""
    return json.dumps({"do": CANCEL_INVITE, "call_id": call_id, "cseq": cseq}, separators=(",", ":")).encode()


def encode_end(facts: EndFacts) -> str:
    """Facts as text, for the processes of Kamailio to share."""
    return json.dumps(_fields(facts), separators=(",", ":"))


def decode_end(text: str) -> EndFacts:
    """The facts back; ValueError when the text is not from `encode_end`."""
    try:
        facts = _end(json.loads(text))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not facts: {error!r}") from error
    if facts is None:
        raise ValueError("not facts: null")
    return facts


def decode_answer(values: Json) -> tuple[TransactionId, Answer]:
    """Read the answer out of a decoded command; ValueError when it is malformed."""
    try:
        identity = (int(values["id"][0]), int(values["id"][1]))
        match values["of"]:
            case "pager":
                ends = _end(values["originator"]), _end(values["recipient"])
                return identity, PagerFacts(*ends, int(values["revision"]), values["media_at"])
            case "defer":
                return identity, Deferred(values["message_id"], values["refusal"])
            case "third-party-register":
                return identity, Registered(values["stored"])
            case "publish":
                return identity, Published(values["etag"], int(values["seconds"]), values["refusal"], values["detail"])
            case "focus":
                return identity, Focus(values["uri"])
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
