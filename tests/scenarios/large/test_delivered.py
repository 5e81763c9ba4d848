"""Stored large messages on their way out: listed, fetched, pushed, interrupted, removed (DEF-04 to DEF-11, DEF-13)."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from im_client.deferred import decode
from im_client.message_summary import Counts
from im_client.service_settings import ServiceSettings
from msrp_worker import cpim, imdn
from msrp_worker.msrp import IncomingMessage, Session
from msrp_worker.store import Store
from msrp_worker.store.database import Statement
from tests.scenarios.bed import Instance, async_until
from tests.scenarios.delivery.device import Device
from tests.scenarios.delivery.test_killed import kill
from tests.scenarios.evidence import address
from tests.scenarios.large.conftest import Files
from tests.scenarios.large.sender import IMAGE, invite_large, send

SETTINGS = {"IM_USER_RATE": "0"}
CONTENT = bytes(index % 251 for index in range(3_000_000))
Deposit = Callable[..., Awaitable[str]]
"""`await deposit(recipient, content…)`: large messages for a user who is away; their sender."""


class Slow(Device):
    """A device that takes messages in pieces, and stops at `stop_at` bytes of the first one."""

    def __init__(self, instance: Instance, user: str, stop_at: int, then: str) -> None:
        super().__init__(instance, user, whole=0)
        self.stop_at = stop_at
        self.then = then
        self.got: list[bytearray] = []
        self.stopped = asyncio.Event()

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        if not body:
            return None
        self.begin(session, message)
        self.data(session, message, body)
        return self.end(session, message)

    def begin(self, session: Session, message: IncomingMessage) -> int | None:
        self.got.append(bytearray())
        return None

    def data(self, session: Session, message: IncomingMessage, data: bytes) -> int | None:
        self.got[-1] += data
        if len(self.got[-1]) >= self.stop_at and not self.stopped.is_set():
            self.stopped.set()
            if self.then == "stall":
                session.hold()
            elif self.then == "cut":
                session.close("cut")
            elif self.then == "refuse":
                return 413
        return None

    def end(self, session: Session, message: IncomingMessage) -> int | None:
        assert isinstance(session.context, int)
        self.taken[session.context].append((message.content_type, bytes(self.got[-1])))
        self.changed.set()
        return None


@pytest.fixture
def deposit(instance: Instance, new_user: Callable[..., str]) -> Deposit:
    async def keep(recipient: str, *contents: bytes, subject: str = "") -> str:
        sender = new_user()
        async with instance.client(sender) as client:
            for content in contents:
                await client.send_large(address(recipient), content, content_type=IMAGE, subject=subject)
        return sender

    return keep


async def willing(instance: Instance, user: str) -> None:
    """Switch the delivery of deferred messages on."""
    async with instance.client(user, settings=ServiceSettings(offline_delivery=True)) as client:
        await client.register()


@pytest.mark.requirement("DEF-08", "DEF-07", "DEF-05", "LRG-04", "CLI-06")
async def test_listed_with_their_size_and_fetched_into_files(
    instance: Instance, new_user: Callable[..., str], deposit: Deposit, files: Files, tmp_path: Path
) -> None:
    recipient = new_user()
    sender = await deposit(recipient, CONTENT, CONTENT[:70_000], subject="sea")
    progress: list[tuple[int, int]] = []
    async with instance.client(recipient) as client:
        assert (await client.send(address(recipient), "a note to myself")).status in (200, 202)
        summary = await client.deferred_list()
        assert summary.count("Multimedia-Message") == Counts(2, 0, 0, 0)
        first, second = summary.messages[:2]
        assert [one.header("Content-Length") for one in (first, second)] == ["3000000", "70000"]
        assert (first.header("Content-Type"), first.header("Subject")) == (IMAGE, "sea")
        assert first.header("P-Asserted-Identity") == f"<{address(sender)}>"
        (found,) = await client.deferred_get(
            [first.message_id], escaped=True, directory=tmp_path, progress=lambda *told: progress.append(told)
        )
        assert found.path is not None and found.path.read_bytes() == CONTENT
        assert (found.size, found.sender, found.content_type) == (len(CONTENT), address(sender), IMAGE)
        assert progress and progress[-1][0] > len(CONTENT) and len(progress) > 10
        (found,) = await client.deferred_get([second.message_id], directory=tmp_path)
        assert found.path is not None and found.path.read_bytes() == CONTENT[:70_000]
        await async_until(lambda: not files(), "nothing is left")


@pytest.mark.requirement("CLI-06", "DEF-07", "LRG-05")
async def test_the_clients_commands(instance: Instance, new_user: Callable[..., str], tmp_path: Path) -> None:
    """`send --file --file` to somebody away, `deferred list`, `deferred get --directory`."""
    sender, recipient = new_user(), new_user()
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    for path in paths:
        path.write_bytes(path.name.encode() * 30_000)
    inbox = tmp_path / "inbox"
    inbox.mkdir()

    async def run(user: str, *arguments: str) -> str:
        account = ("--identity", address(user), "--password", f"{user}-secret", "--proxy", f"127.0.0.1:{instance.sip_port}")
        command = [sys.executable, "-m", "im_client", *arguments[:1]]
        rest = arguments[1:]
        if arguments[0] == "deferred":
            command.append(arguments[1])
            rest = arguments[2:]
        result = await asyncio.to_thread(
            subprocess.run, [*command, *account, *rest], capture_output=True, text=True, timeout=30, check=False
        )
        assert result.returncode == 0, (result.stdout, result.stderr)
        return str(result.stdout)

    sent = await run(sender, "send", address(recipient), "--file", str(paths[0]), "--file", str(paths[1]))
    assert sent.startswith("sent 2 files, 420000 bytes in ")
    listed = await run(recipient, "deferred", "list")
    assert "multimedia-message: 2 new" in listed and "210000 bytes of image/png" in listed
    fetched = await run(recipient, "deferred", "get", "--directory", str(inbox))
    assert fetched.count("210000 bytes saved as ") == 2
    assert sorted(path.name for path in inbox.iterdir()) == ["one.png", "two.png"]
    assert all((inbox / path.name).read_bytes() == path.read_bytes() for path in paths)
    await async_until(lambda: not instance.stored(recipient), "nothing is stored any more")


@pytest.mark.requirement("CLI-06", "DEF-03", "DEF-04")
async def test_a_listening_client_shows_what_is_pushed(
    instance: Instance, new_user: Callable[..., str], deposit: Deposit, tmp_path: Path
) -> None:
    """`listen` prints deferred messages too, and saves large ones before they leave the store."""
    recipient = new_user()
    await willing(instance, recipient)
    sender = await deposit(recipient, CONTENT)
    async with instance.client(sender) as client:
        assert (await client.send(address(recipient), "and a word")).status == 202
    account = ("--identity", address(recipient), "--password", f"{recipient}-secret")
    command = [sys.executable, "-m", "im_client", "listen", *account, "--proxy", f"127.0.0.1:{instance.sip_port}"]
    command += ["--json", "--count", "2", "--directory", str(tmp_path)]
    result = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=30, check=True)
    first, second = map(json.loads, result.stdout.splitlines())
    assert Path(first["path"]).parent == tmp_path and Path(first["path"]).read_bytes() == CONTENT
    assert (first["deferred"], first["sender"], first["content_type"]) == (True, address(sender), IMAGE)
    assert (second["path"], base64.b64decode(second["body"])) == (None, b"and a word")
    await async_until(lambda: not instance.stored(recipient), "nothing is left")


@pytest.mark.requirement("DEF-05", "DEF-13", "LRG-04")
@pytest.mark.parametrize("how", ["cut", "refuse", "kill"])
async def test_interrupted_in_the_middle_it_comes_again_whole(
    instance: Instance, new_user: Callable[..., str], deposit: Deposit, files: Files, how: str
) -> None:
    """The device loses its connection, refuses, or the worker dies: the message stays, with its content."""
    recipient = new_user()
    await willing(instance, recipient)
    await deposit(recipient, CONTENT, CONTENT[:1000])
    async with Slow(instance, recipient, 1_000_000, how) as device:
        await device.register()
        async with asyncio.timeout(20):
            await device.stopped.wait()
        if how == "kill":
            await kill(instance)
            await asyncio.to_thread(instance.deployment.start_worker)
        else:
            await device.until(lambda: device.ended)
            kept = [len(CONTENT)] if how == "refuse" else [len(CONTENT), 1000]
            await async_until(lambda: [entry["size"] for entry in instance.stored(recipient)] == kept, "the rest stays")
            await device.register()
        await async_until(lambda: not instance.stored(recipient), "all has come")
        bodies = [decode(kind, body)[0].body for session in device.taken for kind, body in session]
        assert sorted(bodies, key=len) == [CONTENT[:1000], CONTENT]
        await async_until(lambda: not files(), "nothing is left")


@pytest.mark.requirement("DEF-05", "DEF-13", "SEC-06")
@pytest.mark.parametrize(
    "step", ["the INVITE is there", "the first is half there", "the first was acknowledged", "all were"]
)
async def test_killed_at_a_step_of_a_push(
    instance: Instance, new_user: Callable[..., str], deposit: Deposit, files: Files, step: str
) -> None:
    """Nothing is lost; what comes twice was acknowledged a moment before, and has the same Message-ID and bytes."""
    recipient = new_user()
    contents = [CONTENT, CONTENT[:900_000], CONTENT[:800_000]]
    await willing(instance, recipient)
    await deposit(recipient, *contents)
    async with Slow(instance, recipient, 1_000_000, "go on") as device:
        device.answers = step != "the INVITE is there"
        await device.register()
        async with asyncio.timeout(20):
            if not device.answers:
                await device.until(lambda: device.offers)
            elif step == "the first is half there":
                await device.stopped.wait()
            else:
                count = 1 if step == "the first was acknowledged" else 3
                await device.until(lambda: device.taken and len(device.taken[0]) >= count)
        await kill(instance)
        device.answers = True
        await asyncio.to_thread(instance.deployment.start_worker)
        await async_until(lambda: not instance.stored(recipient), "all has come")
        bodies = [decode(kind, body)[0].body for session in device.taken for kind, body in session]
        assert list(dict.fromkeys(bodies)) == contents
        assert len(bodies) <= 2 * len(contents)
        await async_until(lambda: not files(), "nothing is left")


@pytest.mark.requirement("DEF-05", "SEC-06", "LRG-06")
async def test_a_device_that_stalls_holds_nobody_up(
    instance: Instance, new_user: Callable[..., str], deposit: Deposit
) -> None:
    """Others get theirs meanwhile, and when the device goes the message is still there."""
    slow, quick = new_user(), new_user()
    for user in (slow, quick):
        await willing(instance, user)
        await deposit(user, CONTENT)
    async with Slow(instance, slow, 200_000, "stall") as stalled, Device(instance, quick) as device:
        await stalled.register()
        async with asyncio.timeout(20):
            await stalled.stopped.wait()
        await device.register()
        await device.until(lambda: device.ended)
        assert decode(*device.taken[0][0])[0].body == CONTENT
        assert len(instance.stored(slow)) == 1 and not stalled.taken[0]
    async with Device(instance, slow) as device:
        await device.register()
        await device.until(lambda: device.ended)
        assert decode(*device.taken[0][0])[0].body == CONTENT


@pytest.mark.requirement("DEF-13", "DEF-05")
async def test_a_storm_of_registrations_brings_everything_once(
    instance: Instance, new_user: Callable[..., str], deposit: Deposit
) -> None:
    """Four devices of one user register at once, each five times: every message comes to one of them, once."""
    recipient = new_user()
    await willing(instance, recipient)
    contents = [CONTENT[: 50_000 + number] for number in range(6)]
    await deposit(recipient, *contents)
    devices = [Device(instance, recipient) for _ in range(4)]
    async with devices[0], devices[1], devices[2], devices[3]:
        await asyncio.gather(*(device.register() for device in devices for _ in range(5)))
        await async_until(lambda: not instance.stored(recipient), "all has come")
        found = [decode(kind, body)[0].body for device in devices for session in device.taken for kind, body in session]
        assert sorted(found, key=len) == contents


@pytest.mark.requirement("DEF-09", "DEF-11", "LRG-04")
async def test_removal_takes_the_content_along(
    instance: Instance, new_user: Callable[..., str], deposit: Deposit, files: Files
) -> None:
    """The operator shows and deletes a message, deletes the user: the files go, the quota is free again."""
    recipient = new_user()
    await deposit(recipient, CONTENT, CONTENT[:5000], CONTENT[:6000])
    usage = instance.in_store(lambda store: store.deferred.usage(address(recipient)))
    assert (usage.messages, usage.bytes) == (3, len(CONTENT) + 11_000)
    first = instance.stored(recipient)[0]["message_id"]
    result = instance.deployment.command("deferred", "show", recipient, first, "--content")
    assert result.stdout == CONTENT
    assert decode(_mixed(shown := instance.stored_bytes(recipient, first)), shown)[0].body == CONTENT
    instance.command("deferred", "delete", recipient, first)
    assert len(files()) == 2
    usage = instance.in_store(lambda store: store.deferred.usage(address(recipient)))
    assert (usage.messages, usage.bytes) == (2, 11_000)
    instance.command("user", "delete", recipient)
    assert not files()


def _mixed(body: bytes) -> str:
    """The content type that a shown message has on the wire."""
    boundary = body.partition(b"\r\n")[0].removeprefix(b"--").decode()
    return f'multipart/mixed; boundary="{boundary}"'


@pytest.mark.requirement("DEF-10", "DEF-11", "LRG-04")
async def test_the_purge_takes_the_content_along(
    instance: Instance, new_user: Callable[..., str], deposit: Deposit, files: Files
) -> None:
    recipient = new_user()
    await deposit(recipient, CONTENT[:5000])
    assert len(files()) == 1
    past = files()[0].stat().st_mtime - 31 * 86_400
    sql = "UPDATE deferred SET received = ? WHERE recipient = ?"

    async def age(store: Store) -> None:
        await store.database.write(Statement(sql, (past, address(recipient))))

    instance.in_store(age)
    await async_until(lambda: not files(), "the purge has run")
    assert not instance.stored(recipient)


@pytest.mark.requirement("PAG-21", "LRG-07", "DEF-05")
async def test_the_sender_is_told_of_the_delivery(instance: Instance, new_user: Callable[..., str]) -> None:
    """A large message in an envelope that asks for it: a notification when the recipient has it, not before."""
    sender, recipient = new_user(), new_user()
    await willing(instance, recipient)
    asking = cpim.compose(
        cpim.Address(address(sender)),
        [cpim.Address(address(recipient))],
        IMAGE,
        date_time="2026-11-21T00:00:00Z",
        message_id="asked1",
        disposition_notification="positive-delivery",
    )
    async with instance.client(sender) as author:
        await author.register()
        session = await invite_large(author, address(recipient), len(CONTENT))
        assert await send(session, asking.head + CONTENT, "message/cpim") == 200
        await session.close()
        with pytest.raises(TimeoutError):
            await author.next_message(0.5)
        async with Device(instance, recipient) as device:
            await device.register()
            await device.until(lambda: device.ended)
            assert decode(*device.taken[0][0])[0].body == asking.head + CONTENT
        envelope, payload = cpim.parse((await author.next_message()).body)
        told = imdn.parse(payload)
        assert (told.message_id, told.kind, told.status) == ("asked1", imdn.Kind.DELIVERY, imdn.Status.DELIVERED)
        assert envelope.sender == cpim.Address(address(recipient))
