"""Browser-like clients, over WebSocket at /msrp, in sessions through the worker (MED-11, RFC 7977)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from im_client.im_invitation import ImInvitation, ReceivedFile
from im_client.im_session import ImSession
from tests.scenarios.bed import DOMAIN, Instance, instance_with
from tests.scenarios.media.parties import idle, metrics
from tests.scenarios.media.wire import frame

SETTINGS = {"IM_MEDIA_PATH": "always", "IM_MSRP_BIND_SECONDS": "2", "IM_MSRP_MAX_PER_ADDRESS": "20"}
SECONDS = 15.0
NewUser = Callable[..., str]


def url(instance: Instance) -> str:
    return f"ws://127.0.0.1:{instance.deployment.config.http_port}/msrp"


@pytest.mark.requirement("MED-11", "MED-05", "MED-02", "PFS-09")
@pytest.mark.parametrize("behind", ["caller", "callee", "both"])
async def test_a_browser_and_a_tcp_client_talk(instance: Instance, new_user: NewUser, behind: str) -> None:
    """Text and what is not text, short and long, both ways, with success reports; BYE ends both."""
    browser = {"msrp_websocket": url(instance)}
    first = browser if behind in ("caller", "both") else {}
    second = browser if behind in ("callee", "both") else {}
    caller, callee = new_user(), new_user()
    ends: asyncio.Queue[ImSession] = asyncio.Queue()

    async def accept(invitation: ImInvitation) -> None:
        ends.put_nowait(await invitation.accept())

    async with instance.client(caller, **first) as one, instance.client(callee, **second) as two:
        two.on_invite = accept
        await one.register()
        await two.register()
        outgoing = await one.invite(f"sip:{callee}@{DOMAIN}")
        async with asyncio.timeout(SECONDS):
            incoming = await ends.get()
        for session, by_websocket in ((outgoing, bool(first)), (incoming, bool(second))):
            peer = session.line.peer.session
            assert (peer.local.transport, peer.local.host.endswith(".invalid")) == (
                ("ws", True) if by_websocket else ("tcp", False)
            )
        config = instance.deployment.config
        assert outgoing.line.peer.session.remote[0].port == (config.http_port if first else config.msrp_port)
        for sender, receiver in ((outgoing, incoming), (incoming, outgoing)):
            for body in ("grüße", "x" * 100_000):
                await sender.send(body, success_report=True)
                assert (await receiver.receive()).text == body
            await sender.send(bytes(range(256)) * 300, "application/octet-stream", success_report=True)
            assert (await receiver.receive()).body == bytes(range(256)) * 300
        await outgoing.close()
        async with asyncio.timeout(SECONDS):
            await incoming.ended
    await asyncio.to_thread(idle, instance)


@pytest.mark.requirement("MED-11", "PFS-02")
async def test_a_browser_invites_without_any_setting(tmp_path: Path) -> None:
    """The worker steps in by itself, as a browser can have no other peer; between two TCP clients it does not."""
    ends: asyncio.Queue[ImSession] = asyncio.Queue()

    async def accept(invitation: ImInvitation) -> None:
        ends.put_nowait(await invitation.accept())

    with instance_with(tmp_path) as instance:
        for options, bridged in (({"msrp_websocket": url(instance)}, True), ({}, False)):
            async with instance.client("alice", **options) as one, instance.client("bob") as two:
                two.on_invite = accept
                await one.register()
                await two.register()
                outgoing = await one.invite(f"sip:bob@{DOMAIN}")
                async with asyncio.timeout(SECONDS):
                    incoming = await ends.get()
                assert (metrics(instance)["im_sessions_bridged"] == 1) is bridged
                await outgoing.send("hello", success_report=True)
                assert (await incoming.receive()).text == "hello"
                await outgoing.close()
                async with asyncio.timeout(SECONDS):
                    await incoming.ended


@pytest.mark.requirement("MED-11", "LRG-01", "LRG-05")
async def test_a_file_of_a_browser(instance: Instance, new_user: NewUser, tmp_path: Path) -> None:
    """From a browser to a TCP client, whole."""
    source, target = tmp_path / "picture.bin", tmp_path / "in"
    source.write_bytes(bytes(index % 251 for index in range(2_000_000)))
    target.mkdir()
    caller, callee = new_user(), new_user()
    files: asyncio.Queue[ReceivedFile] = asyncio.Queue()

    async def take(invitation: ImInvitation) -> None:
        files.put_nowait(await invitation.accept_file(target))

    async with instance.client(caller, msrp_websocket=url(instance)) as one, instance.client(callee) as two:
        two.on_invite = take
        await one.register()
        await two.register()
        await one.send_file(f"sip:{callee}@{DOMAIN}", source)
        async with asyncio.timeout(SECONDS):
            received = await files.get()
    assert received.path.read_bytes() == source.read_bytes()
    await asyncio.to_thread(idle, instance)


@pytest.mark.requirement("MED-11", "DEF-03")
async def test_a_browser_fetches_what_waits_for_it(instance: Instance, new_user: NewUser) -> None:
    """The Deferred Messaging Function serves it at the same place."""
    sender, recipient = new_user(), new_user()
    async with instance.client(sender) as one:
        for number in range(3):
            assert (await one.send(f"sip:{recipient}@{DOMAIN}", f"message {number}")).status == 202
    async with instance.client(recipient, msrp_websocket=url(instance)) as two:
        found = await two.deferred_get()
    assert [message.text for message in found] == [f"message {number}" for number in range(3)]
    await asyncio.to_thread(idle, instance)


async def closed(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    """Read to the end; the close code."""
    async with asyncio.timeout(SECONDS):
        async for _ in socket:
            pass
    return socket.close_code


@pytest.mark.requirement("MED-11", "SEC-05", "SEC-02")
async def test_what_is_no_msrp_over_websocket(instance: Instance) -> None:
    """Without the subprotocol 400; what is not one whole frame, noise, guesses and silence end the connection."""
    port = instance.deployment.config.msrp_port
    guess = frame("SEND", f"msrp://127.0.0.1:{port}/guess;tcp", "msrps://x.invalid:9/y;ws")
    async with aiohttp.ClientSession() as http:
        async with http.get(url(instance).replace("ws:", "http:")) as response:
            assert response.status == 400
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(url(instance), protocols=("other",))
        assert refused.value.status == 400
        for data in (guess[:30], bytes(range(256)), b"GET / HTTP/1.1\r\n\r\n", b"x" * 5_000_000):
            async with http.ws_connect(url(instance), protocols=("msrp",)) as socket:
                assert socket.protocol == "msrp"
                try:
                    await socket.send_bytes(data)
                except ConnectionError:
                    pass  # closed while the rest of it was sent
                assert await closed(socket) in (1008, 1009, 1006, None), data[:20]
        async with http.ws_connect(url(instance), protocols=("msrp",)) as socket:
            for _ in range(5):
                await socket.send_bytes(guess)
            assert await closed(socket) == 1008
        before = metrics(instance)["im_msrp_never_bound_total"]
        async with http.ws_connect(url(instance), protocols=("msrp",)) as socket:
            assert await closed(socket) == 1008
        assert metrics(instance)["im_msrp_never_bound_total"] == before + 1
    await asyncio.to_thread(idle, instance)
    assert "Traceback" not in instance.worker_log()


@pytest.mark.requirement("MED-11", "SEC-02")
async def test_websockets_count_as_connections(instance: Instance) -> None:
    """The limit of one address holds for all transports together: 503."""
    async with aiohttp.ClientSession() as http:
        sockets = [await http.ws_connect(url(instance), protocols=("msrp",)) for _ in range(20)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(url(instance), protocols=("msrp",))
        assert refused.value.status == 503
        assert "SEC-02 msrp: websocket from 127.0.0.1 refused" in instance.worker_log()
        for socket in sockets:
            await socket.close()
    await asyncio.to_thread(idle, instance)
