"""Who sends too much is told so, or ignored, and nobody else notices (SEC-02)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance, async_until
from tests.scenarios.health import Whole
from tests.scenarios.traffic import Peer, Sip, address, ask_all, im_message, plain_message

USER_RATE = 20
SOURCE_RATE = 50
SETTINGS = {
    "IM_TRUSTED_PEERS": "127.0.0.1",
    "IM_USER_RATE": str(USER_RATE),
    "IM_SOURCE_RATE": str(SOURCE_RATE),
}


@pytest.mark.requirement("SEC-02")
async def test_one_user_sends_too_much(instance: Instance, new_user: Callable[..., str]) -> None:
    """503 with Retry-After and Warning, in the log with the Call-ID; other users and other traffic are not limited."""
    greedy, modest, recipient = new_user(), new_user(), new_user()
    async with await Peer.open(instance.sip_port) as peer:
        requests = [im_message(greedy, recipient) for _ in range(3 * USER_RATE)]
        replies = await ask_all(peer, requests, in_flight=10)
        refused = {call_id: reply for call_id, reply in replies.items() if reply.status != 202}
        assert {reply.status for reply in refused.values()} == {503}
        assert USER_RATE <= len(replies) - len(refused) <= 2 * USER_RATE  # a window of ten seconds may end meanwhile
        for reply in refused.values():
            assert reply.header("Retry-After") == "10"
            assert reply.header("Warning") == '399 example.com "Too many requests"'
        line = f"IM refused 503 SEC-02 MESSAGE Call-ID={next(iter(refused))}: user exceeds {USER_RATE} requests"
        assert line in instance.kamailio_log()
        assert len(instance.stored(recipient)) == len(replies) - len(refused)
        assert (await peer.ask(im_message(modest, recipient))).status == 202
        assert (await peer.ask(plain_message(greedy, recipient))).status == 404, "no business of the IM server"
        await async_until(lambda: True, "")
        while (reply := await peer.ask(im_message(greedy, recipient))).status != 202:
            assert reply.status == 503


@pytest.mark.requirement("SEC-02")
async def test_one_address_sends_too_much(instance: Instance) -> None:
    """It is ignored and named in the log once; other addresses and this host itself are served."""

    def options() -> Sip:
        return Sip("OPTIONS", f"sip:127.0.0.1:{instance.sip_port}", address("x"))

    with Whole(instance):
        async with (
            await Peer.open(instance.sip_port, "127.0.0.2") as noisy,
            await Peer.open(instance.sip_port, "127.0.0.3") as quiet,
            await Peer.open(instance.sip_port) as own,
        ):
            assert (await noisy.ask(options())).status == 200
            for _ in range(10 * SOURCE_RATE):
                noisy.send(options().bytes(noisy.host, noisy.port))
            line = f"SEC-02 127.0.0.2 exceeds {SOURCE_RATE} requests in 2 s"
            await async_until(lambda: line in instance.kamailio_log(), line)
            with pytest.raises(TimeoutError):
                await noisy.ask(options(), seconds=1)
            assert (await quiet.ask(options())).status == 200
            assert instance.kamailio_log().count(line) == 1
            for _ in range(10 * SOURCE_RATE):
                own.send(options().bytes(own.host, own.port))
            assert (await own.ask(options())).status == 200
            assert (await own.ask(im_message("alice", "bob"))).status == 202
