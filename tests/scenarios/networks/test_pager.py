"""Pager messages from one home network to the other, delivered and deferred."""

from __future__ import annotations

import asyncio

import pytest

from im_client.client import ImClient
from im_client.config import ClientConfig
from tests.scenarios.bed import async_until
from tests.scenarios.networks.networks import Home, Networks

SETTINGS = {"IM_SETTINGS_OFFLINE_DELIVERY": "yes"}


@pytest.fixture(params=["from the first", "from the second"])
def ends(request: pytest.FixtureRequest, networks: Networks) -> tuple[Home, Home]:
    """The home of the sender and that of the recipient, in both directions."""
    return (networks.one, networks.two) if "first" in request.param else (networks.two, networks.one)


@pytest.mark.requirement("PAG-05", "PAG-09", "HDR-07", "IDN-02")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_message(ends: tuple[Home, Home], transport: str) -> None:
    """It arrives with the identity that the sender's home asserts; the answer comes back with that of the recipient."""
    here, there = ends
    alice, bob = here.new_user(), there.new_user()
    async with here.client(alice, transport=transport) as one, there.client(bob, transport=transport) as two:
        await one.register()
        await two.register()
        response = await one.send(there.uri(bob), "Hello across")
        assert response.status == 200
        assert response.header("P-Asserted-Identity") == f"<{there.uri(bob)}>"
        message = await two.next_message()
        assert message.text == "Hello across"
        assert message.asserted_identity == here.uri(alice)
        answer = await two.send(message.sender, "And back")
        assert answer.status == 200
        assert (await one.next_message()).asserted_identity == there.uri(bob)


@pytest.mark.requirement("PAG-08", "DEF-01", "DEF-03", "DEF-04")
async def test_deferred(ends: tuple[Home, Home]) -> None:
    """The recipient's home keeps what its user is not there for, the sender's nothing; it is pushed when he comes."""
    here, there = ends
    alice, bob = here.new_user(), there.new_user()
    async with here.client(alice) as one, there.client(bob) as two:
        response = await one.send(there.uri(bob), "for later")
        assert response.status == 202
        (stored,) = there.instance.stored(bob)
        assert stored["originator"] == here.uri(alice)
        await two.register()
        async with asyncio.timeout(10):
            message = await two.messaging.pushed.get()
        assert (message.text, message.sender) == ("for later", here.uri(alice))
        await async_until(lambda: not there.instance.stored(bob), "what was pushed is deleted")


@pytest.mark.requirement("LRG-04", "PFS-16", "DEF-04")
async def test_large_message_deferred(ends: tuple[Home, Home]) -> None:
    """The recipient's home answers for its user, takes the content, and pushes it when he comes."""
    here, there = ends
    alice, bob = here.new_user(), there.new_user()
    content = bytes(range(256)) * 400
    async with here.client(alice) as one, there.client(bob) as two:
        await one.send_large(there.uri(bob), content, content_type="application/octet-stream")
        await async_until(lambda: there.instance.stored(bob), "it is stored")
        assert here.instance.in_store(lambda store: store.deferred.recipients()) == []
        await two.register()
        async with asyncio.timeout(10):
            message = await two.messaging.pushed.get()
        assert (message.body, message.content_type) == (content, "application/octet-stream")
        assert message.sender == here.uri(alice)


@pytest.mark.requirement("IDN-02", "SEC-01")
async def test_a_stranger_asserts_nothing(ends: tuple[Home, Home]) -> None:
    """Who is not the other home's server cannot speak for its users."""
    here, there = ends
    alice, bob = here.new_user(), there.new_user()
    async with there.client(bob) as two:
        await two.register()
        proxy = two.config.proxy
        forger = ImClient(ClientConfig(identity=here.uri(alice), proxy=proxy, trusted=True))
        async with forger:
            assert (await forger.send(there.uri(bob), "as if")).status == 403
        with pytest.raises(TimeoutError):
            await two.next_message(0.2)


@pytest.mark.requirement("COR-04")
async def test_nobody(ends: tuple[Home, Home]) -> None:
    """The recipient's home knows that there is no such user."""
    here, there = ends
    async with here.client(here.new_user()) as one:
        assert (await one.send(there.uri("nobody"), "?")).status == 404
