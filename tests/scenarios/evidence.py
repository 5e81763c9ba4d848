"""What a scenario looks at beside the wire: the log line of a refusal, the trace, the store."""

from __future__ import annotations

import re
from typing import Any

from tests.scenarios.bed import DOMAIN, Instance, header, messages, status, wait_until


def address(user: str) -> str:
    """Canonical address of a user of the served domain."""
    return f"sip:{user}@{DOMAIN}"


def final_response(sipp_trace: str) -> str:
    """The last response in a SIPp trace of messages."""
    return [message for message in messages(sipp_trace) if status(message)][-1]


def steps(instance: Instance, call_id: str, last: str) -> list[dict[str, Any]]:
    """The trace of a message once it has its reception and a step of kind `last`."""

    def complete() -> bool:
        events = instance.in_store(lambda store: store.trace.read(call_id))
        return {"received", last} <= {event.kind for event in events}

    wait_until(complete, f"trace of {call_id} with {last!r}")
    return instance.trace(call_id)


def kinds(instance: Instance, call_id: str, last: str) -> list[str]:
    """Kinds of the steps of a message once it has one of kind `last`."""
    return [step["kind"] for step in steps(instance, call_id, last)]


def refusals(instance: Instance, call_id: str) -> list[str]:
    """What Kamailio has logged about refusing a request."""
    return re.findall(rf"IM refused .*Call-ID={re.escape(call_id)}.*", instance.kamailio_log())


def assert_refused(
    instance: Instance, call_id: str, code: int, requirement: str, originator: str, recipient: str, *, traced: bool = True
) -> None:
    """The refusal stands in the log once, with its requirement and both ends, and in the trace; nothing is stored.

    `originator` is an address, or `anonymous` where privacy was asked for.
    """

    def logged() -> list[str]:
        return refusals(instance, call_id)

    (line,) = wait_until(logged, f"log line of the refusal of {call_id}")
    assert line.startswith(f"IM refused {code} {requirement} "), line
    assert f"originator={originator} recipient={recipient}:" in line, line
    if not traced:
        return
    found = steps(instance, call_id, "refused")
    assert [step["kind"] for step in found] == ["received", "refused"]
    assert (found[1]["status"], found[1]["requirement"]) == (code, requirement)
    assert {step["originator"] for step in found} == {originator}
    assert {step["recipient"] for step in found} == {recipient}


def warning(message: str) -> str:
    """Text of the Warning header of a response in a SIPp trace; empty for none."""
    found = header(message, "Warning")
    return found[0].split('"')[1] if found else ""
