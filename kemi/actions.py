"""What a procedure wants done: plain values that the adapter carries out in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from kemi.messages import LegFunction, Question


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer the request with a failure and log it.

    `requirement` is the id of `docs/requirements.md` that asks for it; `warning` becomes a Warning header (RFC 3261 20.43)
    for people; `retry_after` is in seconds; `headers` are more whole lines without line end.
    """

    status: int
    reason: str
    requirement: str
    warning: str = ""
    retry_after: int | None = None
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer the request with a success. `headers` are whole lines without line end."""

    status: int
    reason: str
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """Suspend the transaction and ask the worker; `stage` names the procedure that continues with the answer.

    With `with_message` the SIP message goes along, with `with_body` its body, byte for byte.
    """

    question: Question
    stage: str
    with_message: bool = False
    with_body: bool = False


@dataclass(frozen=True, slots=True)
class ToCore:
    """The originating procedures are done: route the request to its target (PAG-05)."""

    step: ClassVar[str] = "core"
    request_uri: str = ""


@dataclass(frozen=True, slots=True)
class ToRecipient:
    """The terminating procedures are done: fork to the recipient's IM-capable bindings (PAG-09, COR-10)."""

    step: ClassVar[str] = "recipient"
    request_uri: str


@dataclass(frozen=True, slots=True)
class ToFocus:
    """The request was for a Contact of ours and is meant for this focus: begin again with its URI (PFS-06)."""

    step: ClassVar[str] = "again"
    request_uri: str


@dataclass(frozen=True, slots=True)
class ToWorker:
    """The request becomes a leg of the worker, which answers it from here on; `function` is what it is to be there.

    Whose history the session belongs into, the two others say (PFS-14)."""

    function: LegFunction
    records_originator: bool = False
    records_recipient: bool = False


Action: TypeAlias = ToWorker | Refuse | Respond | Ask | ToCore | ToRecipient | ToFocus


def forbidden(requirement: str, warning: str) -> Refuse:
    """The answer the specification gives to most refusals."""
    return Refuse(403, "Forbidden", requirement, warning)


def server_unavailable(warning: str, retry_after: int) -> Refuse:
    """503 with Retry-After: the worker cannot be asked now (SEC-06)."""
    return Refuse(503, "Service Unavailable", "SEC-06", warning, retry_after)
