"""An exception in a procedure: the client is answered 500, the log has the Call-ID, the next message passes (SEC-05)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenarios.bed import Instance, instance_with, wait_until
from tests.scenarios.health import Whole
from tests.scenarios.traffic import Peer, im_message, plain_message, unique
from tools.deployment import ROOT

ENTRY = """
import sys
sys.path.insert(0, {root!r})
from kemi import pager_originating, pager_terminating
from kemi.app import App

def breaks(module, name):
    function = getattr(module, name)
    def broken(first, *rest):
        for value in (first, *rest):
            if getattr(value, "call_id", "").startswith(f"{{module.__name__}}.{{name}}"):
                raise RuntimeError("broken on purpose \\ud800 \\0 \\n end")
        return function(first, *rest)
    setattr(module, name, broken)

for module, name in ((pager_originating, "screen"), (pager_originating, "decide"),
                     (pager_terminating, "decide"), (pager_terminating, "delivery_failed")):
    breaks(module, name)

def mod_init():
    return App()
"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance whose entry script makes procedures raise for Call-IDs that begin with their name."""
    directory = tmp_path_factory.mktemp("bugs")
    entry = Path(directory) / "entry.py"
    entry.write_text(ENTRY.format(root=str(ROOT)))
    settings = {"IM_TRUSTED_PEERS": "127.0.0.1", "IM_USER_RATE": "0"}
    with instance_with(directory, settings, defines=[f'IM_KEMI_ENTRY="{entry}"']) as running:
        yield running


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("known", [False, True], ids=["facts to be asked for", "facts known"])
@pytest.mark.parametrize(
    "where",
    [
        "kemi.pager_originating.screen",
        "kemi.pager_originating.decide",
        "kemi.pager_terminating.decide",
        "kemi.pager_terminating.delivery_failed",
    ],
)
async def test_a_bug_is_answered_500(instance: Instance, new_user: Callable[..., str], where: str, known: bool) -> None:
    """In each step, suspended or not: 500 at once, a traceback with the Call-ID, nothing stuck, nothing stored."""
    sender, online, absent = new_user(), new_user(), new_user()
    fails_at_device = "delivery_failed" in where
    recipient = online if fails_at_device else absent
    with Whole(instance):
        async with await Peer.open(instance.sip_port) as peer, await Peer.open(instance.sip_port) as device:
            await device.register(online)
            if known:
                assert (await peer.ask(im_message(sender, online))).status == 200
                assert (await peer.ask(im_message(sender, absent))).status == 202
            device.answer_with = b"480 Away"
            stored = len(instance.stored(recipient))
            request = im_message(sender, recipient, call_id=unique(where))
            reply = await peer.ask(request)
            assert reply.status == 500, reply
            assert reply.seconds < 1
            wait_until(lambda: f"IM bug, Call-ID {request.call_id}:" in instance.kamailio_log(), "the log")
            assert "RuntimeError: broken on purpose ?" in instance.kamailio_log()
            assert len(instance.stored(recipient)) == stored
            assert (await peer.ask(im_message(sender, absent))).status == 202
            device.answer_with = b"200 OK"
            assert (await peer.ask(plain_message(sender, online))).status == 200
