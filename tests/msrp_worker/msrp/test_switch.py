"""RFC 7701: checks, fan-out, privacy, nicknames, and readers that do not read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from msrp_worker import cpim
from msrp_worker.cpim import Address
from msrp_worker.is_composing import Composing, State
from msrp_worker.msrp.address_key import address_key
from msrp_worker.msrp.frames import Request, encode_request
from msrp_worker.msrp.media_types import accept_types
from msrp_worker.msrp.options import SessionOptions
from msrp_worker.msrp.outgoing import OutgoingMessage
from msrp_worker.msrp.room import FailureReports, Participant, RoomObserver, RoomPolicy, SwitchedMessage
from msrp_worker.msrp.switch import CUT, Switch
from tests.msrp_worker.msrp.harness import parse_frames, responses, sends
from tests.msrp_worker.msrp.wiring import Client, Net

ROOM = "sip:chat7@conf.example.com"
KEEP = SessionOptions(collect=50_000_000, chunk_size=0)
LEG = SessionOptions()


class Notes(RoomObserver):
    """Writes down what it is told."""

    def __init__(self, refuse: int | None = None) -> None:
        self.refuse = refuse
        self.log: list[Any] = []
        self.content: dict[str, bytes] = {}
        self.messages: list[SwitchedMessage] = []

    def begin(self, message: SwitchedMessage) -> int | None:
        self.messages.append(message)
        self.content[message.incoming.message_id] = b""
        return self.refuse

    def data(self, message: SwitchedMessage, data: bytes) -> None:
        self.content[message.incoming.message_id] += data

    def end(self, message: SwitchedMessage) -> None:
        self.log.append("end")

    def aborted(self, message: SwitchedMessage, reason: str) -> None:
        self.log.append("aborted")

    def nickname(self, participant: Participant, nickname: str | None) -> None:
        self.log.append((participant.address.uri, nickname))

    def left(self, participant: Participant, reason: str, *, cut: bool) -> None:
        self.log.append((participant.address.uri, cut))


class Room:
    """A switch with clients."""

    def __init__(self, policy: RoomPolicy | None = None, **observer: Any) -> None:
        self.net = Net()
        self.notes = Notes(**observer)
        self.switch = Switch((ROOM,), policy, self.notes)

    def join(
        self, name: str, leg: SessionOptions = LEG, user: str | None = None, **about: Any
    ) -> tuple[Client, Participant]:
        client = self.net.client(name, leg, KEEP)
        about = {"private_messages": True, **about}
        participant = Participant(client.leg, Address(uri(user or name), name.title()), **about)
        assert self.switch.join(participant)
        return client, participant

    def clients(self, *names: str) -> list[Client]:
        return [self.join(name)[0] for name in names]

    def say(self, client: Client, data: bytes, **options: Any) -> OutgoingMessage:
        handle = client.session.send(data, "message/cpim", **options)
        self.net.settle()
        return handle


def uri(name: str) -> str:
    return f"sip:{name}@example.com"


def envelope(sender: str, *to: str, body: bytes = b"hello", kind: str = "text/plain") -> bytes:
    wrapped = cpim.compose(Address(uri(sender)), [Address(item) for item in to or (ROOM,)], kind)
    return wrapped.head + body


def received(client: Client) -> list[bytes]:
    return list(client.recorder.bodies.values())


def reports(client: Client) -> list[Request]:
    return [f for f in parse_frames(client.wire.down) if isinstance(f, Request) and f.method == "REPORT"]


@pytest.mark.requirement("MED-07", "MED-08")
@pytest.mark.parametrize("count", [2, 3, 10])
def test_message_goes_to_everyone_but_the_sender_unchanged(count: int) -> None:
    room = Room()
    alice, *others = room.clients("alice", *(f"u{n}" for n in range(count - 1)))
    message = envelope("alice", body=b"\x00\xff\r\n\r\n")
    handle = room.say(alice, message, success_report=True)
    assert (handle.status, handle.reported) == (200, 200)
    assert received(alice) == []
    assert all(received(other) == [message] for other in others)
    assert room.notes.content[handle.message_id] == b"\x00\xff\r\n\r\n"
    assert len(reports(alice)) == 1  # the room's own; those of recipients stay inside (RFC 7701 6.3)


@pytest.mark.requirement("MED-07")
@pytest.mark.parametrize(
    ("message", "code"),
    [
        (envelope("bob"), 403),  # From is somebody else
        (envelope("mallory"), 403),
        (envelope("alice").replace(b"From: <sip:alice@example.com>\r\n", b""), 403),
        (envelope("alice", uri("bob"), uri("carol")), 403),  # several To
        (envelope("alice", ROOM, uri("carol")), 403),
        (envelope("alice", uri("nobody")), 404),
        (envelope("alice").replace(b"To: <" + ROOM.encode() + b">\r\n", b""), 404),
        (envelope("alice", uri("old")), 428),
        (envelope("alice", uri("alice")), 404),
        (b"not an envelope", 400),
        (b"From: <sip:alice@example.com>\r\nTo: nonsense\r\n\r\n\r\n", 400),
        (envelope("alice").replace(b"alice", b"\xff"), 400),
    ],
)
@pytest.mark.parametrize("collect", [10_240, 0])
def test_refusals(message: bytes, code: int, collect: int) -> None:
    room = Room()
    alice, _ = room.join("alice", replace(LEG, collect=collect))
    bob, carol = room.clients("bob", "carol")
    old, _ = room.join("old", private_messages=False)
    if collect:
        handle = room.say(alice, message)
    else:  # the same, arriving in pieces of one byte
        handle = alice.session.send(message, "message/cpim")
        frame = b"".join(alice.wire.client.take(0.0))
        for n in range(len(frame)):
            alice.wire.server.receive(frame[n : n + 1], 0.0)
        room.net.settle()
    assert handle.status == code
    assert [received(client) for client in (bob, carol, old)] == [[], [], []]


@pytest.mark.requirement("MED-07", "MED-12")
def test_envelope_is_required() -> None:
    room = Room()
    alice, bob = room.clients("alice", "bob")
    handle = alice.session.send(b"hi", "text/plain")
    long = alice.session.send(b"hi" * 50_000, "text/plain")
    room.net.settle()
    assert (handle.status, long.status) == (415, 415)
    assert received(bob) == []


@pytest.mark.requirement("MED-07")
def test_sender_may_use_any_of_its_addresses() -> None:
    room = Room()
    alice, _ = room.join("alice", aliases=("tel:+1-201-555-0123",))
    (bob,) = room.clients("bob")
    spelled = envelope("alice").replace(b"sip:alice@example.com", b"sips:alice@EXAMPLE.com;x=y")
    phone = envelope("alice").replace(b"sip:alice@example.com", b"tel:+12015550123")
    assert room.say(alice, spelled).status == 200
    assert room.say(alice, phone).status == 200
    assert received(bob) == [spelled, phone]


@pytest.mark.requirement("MED-07")
def test_private_message_reaches_all_sessions_of_one_user_that_can_show_it() -> None:
    room = Room()
    alice, bob, carol = room.clients("alice", "bob", "carol")
    tablet, _ = room.join("tablet", user="bob")
    phone, _ = room.join("phone", user="bob", private_messages=False)
    message = envelope("alice", uri("bob"))
    assert room.say(alice, message).status == 200
    assert received(bob) == received(tablet) == [message]
    assert received(phone) == received(carol) == []
    assert room.notes.messages[0].private


@pytest.mark.requirement("MED-07")
def test_private_messages_not_allowed_in_the_room() -> None:
    room = Room(RoomPolicy(private_messages=False))
    alice, _ = room.clients("alice", "bob")
    assert room.say(alice, envelope("alice", uri("bob"))).status == 403


@pytest.mark.requirement("IDN-04")
def test_the_room_as_one_sender_knows_it_is_told_to_nobody() -> None:
    own = "sip:im-leg-7@192.0.2.99:5060"
    room = Room()
    alice, _ = room.join("alice", rooms=frozenset({address_key(own)}))
    (bob,) = room.clients("bob")
    assert room.say(alice, envelope("alice", own)).status == 200
    (message,) = received(bob)
    head, body = cpim.parse(message)
    assert [one.uri for one in head.recipients] != [own] and b"192.0.2.99" not in message
    assert body == b"hello"


@pytest.mark.requirement("IDN-04")
def test_anonymous_sender_shows_no_address() -> None:
    room = Room()
    hidden = "sip:anon-5@anonymous.invalid"
    alice, _ = room.join("alice", anonymous=hidden)
    (bob,) = room.clients("bob")
    room.say(alice, envelope("alice"))
    room.say(alice, envelope("alice").replace(uri("alice").encode(), hidden.encode()))
    long = envelope("alice", body=b"x" * 50_000)
    handle = alice.session.open("message/cpim", total=len(long))
    for start in range(0, len(long), 10_000):  # passed on as it comes
        handle.write(long[start : start + 10_000])
        room.net.settle()
    assert handle.status == 200
    assert len(received(bob)) == 3
    for message in received(bob):
        head, _ = cpim.parse(message)
        assert head.sender is not None
        assert head.sender.uri == hidden
    assert received(bob)[2].endswith(b"\r\n\r\n" + b"x" * 50_000)
    assert b"alice@example.com" not in bob.wire.down
    assert room.notes.messages[0].sender.address.uri == uri("alice")  # the recorder knows
    answer = envelope("bob", hidden)
    assert room.say(bob, answer).status == 200
    assert received(alice) == [answer]
    assert room.say(bob, envelope("bob", uri("alice"))).status == 404  # no way to find out who it is


@pytest.mark.requirement("MED-12")
def test_content_goes_only_where_it_is_taken() -> None:
    room = Room()
    alice, carol = room.clients("alice", "carol")
    bob, _ = room.join("bob", accept=accept_types(("message/cpim",), ("text/*",)))
    tiny, _ = room.join("tiny", max_size=10)
    picture = envelope("alice", kind="image/png")
    assert room.say(alice, picture).status == 200
    assert (received(carol), received(bob), received(tiny)) == ([picture], [], [])
    assert room.say(alice, envelope("alice", uri("bob"), kind="image/png")).status == 415


@pytest.mark.requirement("MED-09")
def test_is_composing_passes_and_is_not_for_the_record() -> None:
    room = Room()
    alice, bob = room.clients("alice", "bob")
    message = envelope("alice", kind="Application/im-iscomposing+xml; charset=utf-8", body=Composing(State.ACTIVE).build())
    room.say(alice, message)
    room.say(alice, envelope("alice"))
    assert received(bob)[0] == message
    assert [taken.recordable for taken in room.notes.messages] == [False, True]


@pytest.mark.requirement("MED-08")
def test_order_of_each_sender_is_kept() -> None:
    room = Room()
    alice, bob, carol = room.clients("alice", "bob", "carol")
    for n in range(30):
        alice.session.send(envelope("alice", body=b"a%d" % n + b"x" * (n % 5) * 500), "message/cpim")
        bob.session.send(envelope("bob", body=b"b%d" % n + b"x" * 5_000), "message/cpim")
    room.net.settle()
    taken = [message.incoming.message_id for message in room.notes.messages]
    order = [room.notes.content[ident].partition(b"x")[0].decode() for ident in taken]
    seen = [cpim.parse(message)[1].partition(b"x")[0].decode() for message in received(carol)]
    assert len(seen) == 60
    for letter in "ab":
        mine = [text for text in seen if text.startswith(letter)]
        assert mine == [text for text in order if text.startswith(letter)]
    assert [text for text in seen if text.startswith("a")] == [f"a{n}" for n in range(30)]


@pytest.mark.requirement("MED-08")
def test_long_message_is_passed_on_before_it_is_complete() -> None:
    room = Room()
    alice, bob, carol = room.clients("alice", "bob", "carol")
    message = envelope("alice", body=bytes(range(256)) * 1_000)
    handle = alice.session.open("message/cpim", total=len(message))
    handle.write(message[:100_000])
    room.net.settle()
    assert len(bob.wire.down) > 50_000
    late, _ = room.join("late")
    room.net.lose(carol)
    handle.write(message[100_000:])
    room.net.settle()
    assert received(bob) == [message]
    assert received(late) == []
    assert handle.status == 200
    assert room.notes.log == [(uri("carol"), False), "end"]


@pytest.mark.requirement("MED-08")
@pytest.mark.parametrize("aborted", [True, False])
def test_message_that_stays_incomplete_is_aborted_everywhere(aborted: bool) -> None:
    room = Room()
    alice, bob = room.clients("alice", "bob")
    message = envelope("alice", body=b"x" * 100_000)
    handle = alice.session.open("message/cpim", total=len(message))
    handle.write(message[:50_000])
    room.net.settle()
    if aborted:
        handle.abort()
    else:
        room.net.lose(alice)
    room.net.settle()
    assert sends(bob.wire.down)[-1].flag == "#"
    assert "aborted" in room.notes.log


def test_message_of_unknown_length() -> None:
    room = Room()
    alice, bob = room.clients("alice", "bob")
    message = envelope("alice", body=b"x" * 100_000)
    handle = alice.session.open("message/cpim")
    handle.write(message[:20])
    room.net.settle()
    handle.write(message[20:])
    handle.finish()
    room.net.settle()
    assert handle.status == 200
    assert received(bob) == [message]


@pytest.mark.requirement("MED-08")
def test_reader_that_stops_is_cut_and_others_are_not_disturbed() -> None:
    room = Room(RoomPolicy(stall_seconds=20))
    alice, bob, carol = room.clients("alice", "bob", "carol")
    bob.wire.client_reads = False
    for n in range(800):
        alice.session.send(envelope("alice", body=b"%d" % n + b"x" * 500), "message/cpim")
    room.net.settle()
    assert len(received(carol)) == 800
    assert bob.leg.congested
    room.switch.tick(100.0)
    room.switch.tick(119.0)
    assert len(room.switch.participants) == 3
    room.switch.tick(120.0)
    assert room.notes.log[-1] == (uri("bob"), True)
    assert [who.address.uri for who in room.switch.participants] == [uri("alice"), uri("carol")]


@pytest.mark.requirement("MED-08")
def test_reader_that_is_slow_but_reads_is_kept() -> None:
    room = Room(RoomPolicy(stall_seconds=20))
    alice, bob = room.clients("alice", "bob")
    for now in range(0, 200, 10):
        bob.wire.client_reads = False
        for _ in range(300):
            alice.session.send(envelope("alice", body=b"x" * 500), "message/cpim")
        room.net.settle()
        room.switch.tick(float(now))
        bob.wire.client_reads = True
        room.net.settle()
    assert len(received(bob)) == 6_000


@pytest.mark.requirement("MED-08")
def test_memory_of_a_slow_reader_is_bounded_and_overflow_cuts_it() -> None:
    room = Room()
    alice, carol = room.clients("alice", "carol")
    bob, _ = room.join("bob", replace(LEG, queue_bytes=200_000))
    bob.wire.client_reads = False
    handles = [alice.session.send(envelope("alice", body=b"x" * 1_000), "message/cpim") for _ in range(400)]
    room.net.settle()
    assert room.notes.log.count((uri("bob"), True)) == 1
    assert len(received(carol)) == 400
    assert {handle.status for handle in handles} == {200}
    assert reports(alice) == []  # failure of a recipient of regular messages stays inside (RFC 7701 6.3)


@pytest.mark.requirement("MED-08")
def test_full_queue_cuts_a_reader_also_where_a_long_message_begins() -> None:
    room = Room()
    alice, carol = room.clients("alice", "carol")
    bob, _ = room.join("bob", replace(LEG, queue_bytes=0, congested_bytes=10))
    bob.wire.client_reads = False
    room.say(alice, envelope("alice", body=b"x" * 5_000))
    assert bob.leg.queued > 0
    message = envelope("alice", body=b"x" * 50_000)
    handle = alice.session.open("message/cpim", total=len(message))
    handle.write(message[:20_000])
    room.net.settle()
    assert room.notes.log[-1] == (uri("bob"), True)
    handle.write(message[20_000:])
    room.net.settle()
    assert handle.status == 200
    assert received(carol)[-1] == message


@pytest.mark.requirement("MED-08", "LRG-06")
def test_long_message_goes_at_the_pace_of_its_slowest_reader_until_that_is_cut() -> None:
    room = Room(RoomPolicy(stall_seconds=20))
    alice, bob, carol = room.clients("alice", "bob", "carol")
    bob.wire.client_reads = False
    message = envelope("alice", body=b"x" * 5_000_000)
    handle = alice.session.send(message, "message/cpim")
    room.net.settle()
    assert alice.wire.held
    assert bob.leg.queued < 2 * LEG.congested_bytes
    assert room.say(carol, envelope("carol")).status == 200  # other senders go on
    room.switch.tick(0.0)
    room.switch.tick(20.0)
    room.net.settle()
    assert not alice.wire.held
    assert handle.status == 200
    assert message in received(carol)


@pytest.mark.requirement("MED-02", "MED-07")
@pytest.mark.parametrize(
    ("policy", "private", "told"),
    [
        (FailureReports.PRIVATE, True, 1),
        (FailureReports.PRIVATE, False, 0),
        (FailureReports.ALL, False, 1),
        (FailureReports.NONE, True, 0),
    ],
)
def test_failure_of_a_recipient_is_reported_by_policy(policy: FailureReports, private: bool, told: int) -> None:
    room = Room(RoomPolicy(failure_reports=policy))
    alice, bob, carol = room.clients("alice", "bob", "carol")
    bob.wire.client_reads = carol.wire.client_reads = False
    handle = room.say(alice, envelope("alice", uri("bob") if private else ROOM))
    assert handle.status == 200
    room.net.lose(bob)
    room.net.lose(carol)
    room.net.settle()
    found = reports(alice)
    assert len(found) == told  # once, however many recipients failed
    for report in found:
        assert report.message_id == handle.message_id
        assert report.status is not None
        assert report.status.code == 408
        head, _ = cpim.parse(report.body or b"")
        assert head.sender == Address(uri("alice"))
        assert head.recipients == [Address(uri("bob") if private else ROOM)]


def test_refusing_recipient_does_not_disturb_others() -> None:
    room = Room()
    alice, bob, carol = room.clients("alice", "bob", "carol")
    bob.recorder.replies["message"] = 413
    assert room.say(alice, envelope("alice")).status == 200
    assert len(received(carol)) == 1
    assert len(room.switch.participants) == 3


@pytest.mark.requirement("MED-07")
def test_observer_may_refuse() -> None:
    room = Room(refuse=403)
    alice, bob = room.clients("alice", "bob")
    assert room.say(alice, envelope("alice")).status == 403
    assert room.say(alice, envelope("alice", body=b"x" * 50_000)).status == 403
    assert received(bob) == []


def nickname(client: Client, value: str | None, method: str = "NICKNAME") -> int:
    fields = [] if value is None else [("Use-Nickname", value)]
    frame = encode_request(method, "nick01", client.leg.local_text, client.session.local_text, fields)
    before = len(responses(client.wire.down))
    client.wire.server.receive(frame, 0.0)
    client.wire.down += b"".join(client.wire.server.take(0.0))
    (answer,) = responses(client.wire.down)[before:]
    return answer[1]


@pytest.mark.requirement("MED-07")
def test_nicknames() -> None:
    room = Room(RoomPolicy(reserved_nicknames=("Admin",)))
    alice, bob = room.clients("alice", "bob")
    table = [
        (alice, '"Wonder"', 200),
        (bob, '"wonder"', 425),
        (bob, '"admin"', 425),
        (bob, "Bob", 424),
        (bob, None, 424),
        (bob, '"Bob"', 200),
        (bob, '""', 200),
    ]
    assert [nickname(client, value) for client, value, _ in table] == [code for _, _, code in table]
    assert nickname(alice, "x", method="WAVE") == 501
    room.net.lose(alice)
    assert nickname(bob, '"Wonder"') == 200
    assert room.notes.log == [
        (uri("alice"), "Wonder"),
        (uri("bob"), "Bob"),
        (uri("bob"), None),
        (uri("alice"), False),
        (uri("bob"), "Wonder"),
    ]


@pytest.mark.requirement("MED-07")
def test_nicknames_not_allowed() -> None:
    room = Room(RoomPolicy(nicknames=False))
    (alice,) = room.clients("alice")
    assert nickname(alice, '"Wonder"') == 403


def test_second_session_of_a_user() -> None:
    room = Room(RoomPolicy(multiple_sessions=False))
    room.clients("alice")
    again = room.net.client("tablet", LEG, KEEP)
    assert not room.switch.join(Participant(again.leg, Address(uri("alice"))))
    both = Room()
    alice, bob = both.clients("alice", "bob")
    tablet, _ = both.join("tablet", user="alice")
    both.say(alice, envelope("alice"))
    both.say(bob, envelope("bob"))
    assert (len(received(tablet)), len(received(bob)), len(received(alice))) == (1, 1, 1)


def test_leaving_and_ending() -> None:
    room = Room()
    _, participant = room.join("alice")
    bob, _ = room.join("bob")
    room.switch.leave(participant)
    assert room.say(bob, envelope("bob", uri("alice"))).status == 404
    room.switch.close()
    assert room.switch.participants == []
    assert [entry[0] for entry in room.notes.log] == [uri("alice"), uri("bob")]
    assert CUT


@pytest.mark.requirement("MED-08")
def test_a_thousand_participants() -> None:
    room = Room()
    clients = room.clients(*(f"u{n}" for n in range(1_000)))
    message = envelope("u0")
    assert room.say(clients[0], message).status == 200
    assert all(received(client) == [message] for client in clients[1:])
