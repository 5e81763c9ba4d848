"""One sender, many receivers: what each gets, and what the sender is told."""

from __future__ import annotations

import pytest

from msrp_worker.controlling.large_fanout import NOBODY, LargeSwitch, SentFile
from msrp_worker.cpim import Address
from msrp_worker.msrp.frames import Request
from msrp_worker.msrp.options import SessionOptions
from msrp_worker.msrp.outgoing import OutgoingMessage
from msrp_worker.msrp.room import Participant, RoomObserver
from msrp_worker.sdp_msrp import MsrpMedia
from tests.msrp_worker.msrp.harness import parse_frames
from tests.msrp_worker.msrp.wiring import Client, Net

KEEP = SessionOptions(collect=50_000_000, chunk_size=0)
LEG = SessionOptions(auto_report=False)
LONG = bytes(range(256)) * 2_000
IMAGE = "image/png"
LINE = MsrpMedia(("msrp://192.0.2.1:2855/abcdefgh;tcp",), 2855)


class Room:
    """Alice sends; the others receive. `refusing`: the MSRP status that the receiver of this name gives."""

    def __init__(self, *names: str, **refusing: int) -> None:
        self.net = Net()
        self.switch = LargeSwitch(("sip:s@h",), RoomObserver())
        self.clients: dict[str, Client] = {}
        for name in ("alice", *names):
            options = {"message": refusing[name]} if name in refusing else {}
            client = self.net.client(name, LEG, KEEP, **options)
            self.clients[name] = client
            self.switch.join(Participant(client.leg, Address(f"sip:{name}@h"), receives=name != "alice"))

    def send(self, body: bytes, **options: object) -> OutgoingMessage:
        """A message of Alice."""
        handle = self.clients["alice"].session.send(body, IMAGE, success_report=True, **options)  # type: ignore[arg-type]
        self.net.settle()
        return handle

    def got(self, name: str) -> list[bytes]:
        """What somebody has received."""
        return list(self.clients[name].recorder.bodies.values())

    def reports(self) -> list[int]:
        """Status of each REPORT to Alice."""
        frames = parse_frames(self.clients["alice"].wire.down)
        found = [one.status for one in frames if isinstance(one, Request) and one.method == "REPORT"]
        return [status.code for status in found if status is not None]


@pytest.mark.requirement("LRG-02", "LRG-07")
@pytest.mark.parametrize("body", [b"x", LONG[:5000], LONG])
def test_all_have_it(body: bytes) -> None:
    """As it is, with the headers of the sender; the success report is one."""
    room = Room("bob", "carol", "dave")
    handle = room.send(body, headers=[("Content-Disposition", "attachment")])
    assert (handle.status, handle.reported, room.reports()) == (200, 200, [200])
    for name in ("bob", "carol", "dave"):
        assert room.got(name) == [body]
        assert b"Content-Disposition: attachment" in room.clients[name].wire.down
    assert room.got("alice") == []


@pytest.mark.requirement("LRG-07")
@pytest.mark.parametrize("body", [b"x", LONG])
def test_one_does_not_take_it(body: bytes) -> None:
    """200, as somebody has it, and a report that not everybody has."""
    room = Room("bob", "carol", carol=415)
    handle = room.send(body)
    assert room.got("bob") == [body]
    assert room.reports() == [415]
    assert handle.status in (200, 415)


@pytest.mark.requirement("LRG-07")
def test_nobody_takes_it() -> None:
    """The failure of the first is the answer, before the whole message has come."""
    room = Room("bob", bob=413)
    assert room.send(LONG).status == 413
    assert Room().send(b"x").status == NOBODY


@pytest.mark.requirement("LRG-02", "LRG-06")
def test_the_answer_waits_for_the_slowest() -> None:
    """Nothing is acknowledged to the end before all have it: the sender may hang up upon it."""
    room = Room("bob", "carol")
    slow = room.clients["carol"].wire
    slow.client_reads = False
    handle = room.send(LONG)
    assert handle.status is None
    slow.client_reads = True
    room.net.settle()
    assert (handle.status, room.got("carol")) == (200, [LONG])


@pytest.mark.requirement("LRG-02")
def test_one_leaves_in_the_middle() -> None:
    room = Room("bob", "carol")
    room.clients["carol"].wire.client_reads = False
    handle = room.send(LONG)
    room.net.lose(room.clients["carol"])
    room.net.settle()
    assert room.got("bob") == [LONG]
    assert (handle.status, room.reports()) == (200, [408])


@pytest.mark.requirement("LRG-02")
def test_receivers_send_nothing() -> None:
    """403, and nobody gets it; an empty SEND that binds the session is no message."""
    room = Room("bob", "carol")
    handle = room.clients["bob"].session.send(b"hello", "text/plain")
    empty = room.send(b"")
    assert (handle.status, room.got("carol"), empty.status) == (403, [], 200)


@pytest.mark.requirement("LRG-02")
def test_the_sender_gives_up() -> None:
    """What its receivers have is not the whole, and they see that."""
    room = Room("bob")
    handle = room.clients["alice"].session.open(IMAGE, total=40_000)
    handle.write(b"x" * 20_000)
    room.net.settle()
    room.net.lose(room.clients["alice"])
    room.net.settle()
    assert "aborted" in room.clients["bob"].recorder.names() or not room.got("bob")
    assert b"#\r\n" in room.clients["bob"].wire.down


@pytest.mark.requirement("LRG-02", "LRG-05")
def test_each_file_goes_to_those_who_take_it() -> None:
    """Alice and Bob have sessions for two files, Carol for the second."""
    net = Net()
    switch = LargeSwitch(("sip:s@h",), RoomObserver())
    switch.files = tuple(SentFile(LINE) for _ in range(3))
    assert switch.wanted() == {0, 1, 2}, "nobody is there yet"
    clients = {}
    for name, number in (("alice", 0), ("alice", 1), ("bob", 0), ("bob", 1), ("carol", 1)):
        client = clients[name, number] = net.client(f"{name}{number}", LEG, KEEP)
        switch.take(Participant(client.leg, Address(f"sip:{name}@h"), receives=name != "alice"), number)
    assert switch.wanted() == {0, 1}
    sent = [clients["alice", number].session.send(body, IMAGE) for number, body in enumerate((b"first", LONG))]
    net.settle()
    assert [one.status for one in sent] == [200, 200]
    got = {key: list(client.recorder.bodies.values()) for key, client in clients.items()}
    assert got["bob", 0] == [b"first"]
    assert got["bob", 1] == got["carol", 1] == [LONG]
    clients["bob", 0].leg.close("done")
    assert switch.wanted() == {1}
    refused = clients["alice", 0].session.send(b"again", IMAGE)
    net.settle()
    assert refused.status == NOBODY
