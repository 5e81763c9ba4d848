"""Reliable provisional responses (RFC 3262): their numbers at the sender and at the receiver. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sipmessage import Request, Response

from .wire import parse_cseq, values

OPTION = "100rel"
FIRST_LIMIT = 2**31 - 1
"""The first RSeq is between 1 and this (section 3)."""

_RSEQ = re.compile(r"[0-9]{1,10}")
_RACK = re.compile(r"([0-9]{1,10})\s+([0-9]{1,10})\s+(\S+)")


def offered(request: Request) -> bool:
    """Whether provisional responses to this INVITE may be sent reliably (section 3)."""
    return OPTION in {tag.lower() for name in ("Supported", "Require") for tag in values(request.headers, name)}


def required(message: Request | Response) -> bool:
    """Whether an INVITE insists on reliable ones, or a response is one."""
    return OPTION in {tag.lower() for tag in values(message.headers, "Require")}


# --- the sender


@dataclass(frozen=True, slots=True)
class Sent:
    """The numbers of one INVITE: `rseq` of the last reliable response, and whether its PRACK has come."""

    cseq: int
    rseq: int  # before the first: one less than it
    acknowledged: bool = True


def number(sent: Sent) -> tuple[Sent, list[tuple[str, str]]]:
    """The next number and the fields of its response; ask only when the one before is acknowledged."""
    following = replace(sent, rseq=sent.rseq + 1, acknowledged=False)
    return following, [("Require", OPTION), ("RSeq", str(following.rseq))]


def acknowledge(sent: Sent, prack: Request) -> Sent | None:
    """After a PRACK; None where it matches no unacknowledged response and gets 481 (section 3)."""
    match = _RACK.fullmatch((prack.headers.get("RAck") or "").strip())
    if match is None or sent.acknowledged:
        return None
    if (int(match[1]), int(match[2]), match[3].upper()) != (sent.rseq, sent.cseq, "INVITE"):
        return None
    return replace(sent, acknowledged=True)


# --- the receiver


def rack(last: int | None, response: Response) -> tuple[int | None, str]:
    """The RSeq received last on this early dialog, and the value of RAck; empty where no PRACK is due.

    A repeated response, one out of order, or one that is not reliable gets none (section 4).
    """
    value = (response.headers.get("RSeq") or "").strip()
    if not required(response) or not 100 < response.code < 200 or not _RSEQ.fullmatch(value):
        return last, ""
    rseq = int(value)
    if last is not None and rseq != last + 1:
        return last, ""
    cseq, method = parse_cseq(response.headers)
    return rseq, f"{rseq} {cseq} {method}"
