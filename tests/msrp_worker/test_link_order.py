"""What the worker tells Kamailio first: a changed revision goes before the answer that says so (SET-07)."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kemi.messages import Answer, Incoming, Published, PublishQuestion, Registered, RegisterQuestion, encode_question
from msrp_worker.kamailio_channels import CONTROL_CONNECTIONS
from msrp_worker.kamailio_link import QUESTION_SOCKET, KamailioLink, LinkAddress


class Kamailio:
    """The control listener: what came, connection by connection."""

    def __init__(self) -> None:
        self.commands: list[list[dict[str, Any]]] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.connected = asyncio.Event()
        self.answered = asyncio.Event()
        self.expected = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read commands until the worker closes."""
        mine: list[dict[str, Any]] = []
        self.commands.append(mine)
        self.writers.append(writer)
        if len(self.commands) == CONTROL_CONNECTIONS:
            self.connected.set()
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.rpartition(b"Content-Length: ")[2])
                mine.append(json.loads(await reader.readexactly(length)))
                if sum(command["do"] == "answer" for one in self.commands for command in one) >= self.expected:
                    self.answered.set()
        except asyncio.IncompleteReadError:
            writer.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[socket.socket]:
    """A process of Kamailio, not connected yet."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
        yield one


@pytest.mark.requirement("SET-07")
async def test_an_answer_that_changed_facts_comes_behind_their_revision(tmp_path: Path, process: socket.socket) -> None:
    kamailio, revision = Kamailio(), 1
    kamailio.expected = 16

    def handle(incoming: Incoming) -> Answer:
        nonlocal revision
        if isinstance(incoming.message, RegisterQuestion):
            return Registered(True)
        revision += 1
        return Published(etag=str(revision), seconds=60)

    server = await asyncio.start_server(kamailio.take, "127.0.0.1", 0)
    address = LinkAddress(tmp_path, control_port=server.sockets[0].getsockname()[1])
    link = KamailioLink(address, handle, lambda: revision)
    link.start()
    try:
        await asyncio.wait_for(kamailio.connected.wait(), 5)
        process.connect(str(tmp_path / QUESTION_SOCKET))
        for label in range(8):
            process.send(encode_question((1, label), PublishQuestion("c", "sip:a@b", "", None)))
            process.send(encode_question((2, label), RegisterQuestion("c", "sip:a@b", 60, True)))
        await asyncio.wait_for(kamailio.answered.wait(), 5)
    finally:
        await link.close()
        server.close()
    used = [i for i, one in enumerate(kamailio.commands) for command in one if command.get("of") == "third-party-register"]
    assert len(set(used)) == CONTROL_CONNECTIONS, "other answers go by all connections"
    for commands in kamailio.commands:
        told = 0
        for command in commands:
            if command["do"] == "beat":
                assert command["revision"] >= told, "never back"
                told = command["revision"]
            elif command.get("of") == "publish":
                assert told >= int(command["etag"]), "the change is known before its success is told"


@pytest.mark.requirement("SEC-06")
async def test_kamailio_that_was_restarted_connects_to_itself_before_it_asks(tmp_path: Path) -> None:
    """Each time the control listener is reached anew: what opens Kamailio's connection to itself is the first command,
    ahead of the beat by which Kamailio knows that it may ask."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    link = KamailioLink(LinkAddress(tmp_path, control_port=port), lambda incoming: None, lambda: 1)
    link.start()
    for _ in range(3):
        kamailio = Kamailio()
        server = await asyncio.start_server(kamailio.take, "127.0.0.1", port)
        await asyncio.wait_for(kamailio.connected.wait(), 5)
        async with asyncio.timeout(5):
            while not (
                found := [commands for commands in kamailio.commands if any(one["do"] == "beat" for one in commands)]
            ):
                await asyncio.sleep(0.01)
        (commands,) = found
        assert commands[0]["do"] == "send-request"
        assert json.loads(commands[0]["body"]) == {"do": "keep"}
        server.close()
        for writer in kamailio.writers:
            writer.close()
        async with asyncio.timeout(5):
            while link.connected:
                await asyncio.sleep(0.01)
    await link.close()
