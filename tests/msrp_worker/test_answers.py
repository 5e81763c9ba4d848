"""What the worker answers when something beside the store goes wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kemi.messages import DeferQuestion, Deferred, Incoming
from msrp_worker.answers import Answers

QUESTION = DeferQuestion("call", "sip:a@x", "sip:b@x", False, 100.0, None, "not registered")


async def test_a_bug_behind_the_store_does_not_refuse_what_is_stored() -> None:
    """The sender would send it again, and it would be there twice."""

    async def add(new: Any) -> str:
        return "1@x"

    def broken(address: str) -> None:
        raise RuntimeError(address)

    store: Any = SimpleNamespace(trace=SimpleNamespace(add=lambda event: None), deferred=SimpleNamespace(add=add))
    answers = Answers(store, clock=lambda: 100.0)
    answers.on_stored = broken
    pending: Any = answers(Incoming((1, 2), QUESTION, b"MESSAGE sip:b@x SIP/2.0\r\nCSeq: 1 MESSAGE\r\n\r\nhi"))
    assert await pending == Deferred(message_id="1@x")
