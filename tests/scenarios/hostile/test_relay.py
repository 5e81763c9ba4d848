"""Nobody unknown sends through this proxy to others, and no credentials serve a second sender (SEC-01)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT, Agent
from tests.scenarios.bed import Instance, wait_until
from tests.scenarios.health import Whole
from tests.scenarios.traffic import unique

ELSEWHERE = "elsewhere.example.org"
TEXT = "Content-Type: text/plain"


@pytest.mark.requirement("SEC-01")
@pytest.mark.parametrize("tag", ["plain", "IM"])
@pytest.mark.parametrize("method", ["MESSAGE", "INVITE", "SUBSCRIBE", "REFER", "OPTIONS", "PUBLISH", "INFO"])
def test_strangers_are_not_relayed_to_strangers(instance: Instance, method: str, tag: str) -> None:
    """A foreign From to a foreign Request-URI: 403, logged with the Call-ID, and nothing goes out."""
    headers = (TEXT, ACCEPT_CONTACT) if tag == "IM" else (TEXT,)
    with Agent(instance.sip_port, "mallory", host=ELSEWHERE) as stranger, Agent(instance.sip_port, "victim") as victim:
        answer = stranger.ask(method, victim.contact, *headers, body=b"spam", challenged=False)
        assert answer.status == 403
        line = f"refused 403 SEC-01 {method} Call-ID={answer.value('Call-ID')}"
        wait_until(lambda: line in instance.kamailio_log(), line)
        assert victim.quiet(0.2)


@pytest.mark.requirement("SEC-01")
@pytest.mark.parametrize(
    ("uri", "more"),
    [
        ("sip:bob@example.com", ["Route: <{victim};lr>"]),
        ("sip:bob@example.com", ["Route: <sip:127.0.0.1:{port};lr>", "Route: <{victim};lr>"]),
        ("sip:bob@example.com;maddr={host}", []),
        ("sip:bob@example.com;transport=udp;maddr={host};lr", []),
        ("sip:{victim_at}@127.0.0.1:{port}", []),
        ("sip:127.0.0.1:{port}", ["Route: <{victim};lr>"]),
        ("sip:bob@example.com:{victim_port}", []),
        ("tel:+491234", ["Route: <{victim};lr>"]),
    ],
)
def test_no_detour_through_this_proxy(instance: Instance, uri: str, more: list[str]) -> None:
    """Route, maddr, an escaped address, another port: a stranger's request ends here."""
    with Agent(instance.sip_port, "mallory", host=ELSEWHERE) as stranger, Agent(instance.sip_port, "victim") as victim:
        values = {
            "victim": victim.contact,
            "victim_at": victim.contact.removeprefix("sip:").replace("@", "%40"),
            "victim_port": victim.port,
            "host": victim.address,
            "port": instance.sip_port,
        }
        lines = [line.format(**values) for line in more]
        for headers in ((TEXT, *lines), (TEXT, ACCEPT_CONTACT, *lines)):
            answer = stranger.ask("MESSAGE", uri.format(**values), *headers, body=b"spam", challenged=False)
            assert 400 <= answer.status < 500, answer.head
            assert victim.quiet(0.2)
    assert instance.stored("bob") == []


@pytest.mark.requirement("SEC-01")
@pytest.mark.parametrize("routes", [1, 2])
@pytest.mark.parametrize("proof", ["", ";proof=0", f";proof={'0' * 32}", ";ftag=x;proof=", ";proof"])
@pytest.mark.parametrize("method", ["MESSAGE", "INVITE", "BYE", "ACK", "NOTIFY"])
def test_no_invented_dialog(instance: Instance, method: str, proof: str, routes: int) -> None:
    """A To tag and a Route through this proxy make no dialog: nothing is relayed without the proof in Record-Route."""
    with (
        Agent(instance.sip_port, "mallory", host=ELSEWHERE, address="127.0.0.2") as stranger,
        Agent(instance.sip_port, "victim") as victim,
    ):
        route = [f"Route: <sip:127.0.0.1:{instance.sip_port};lr{proof}>", f"Route: <{victim.contact};lr>"][:routes]
        to = f"<{victim.contact}>;tag=made-up"
        request = stranger.build(method, victim.contact, *route, TEXT, body=b"spam", to=to, call_id=unique("invented"))
        stranger.send(request)
        if method == "ACK":
            assert victim.quiet(0.2)
        else:
            assert stranger.final().status == 403
            assert victim.quiet(0.02)


@pytest.mark.requirement("SEC-01")
def test_a_dialog_goes_on(instance: Instance, new_user: Callable[..., str]) -> None:
    """In a dialog that was made through this proxy both sides send, also after Kamailio's restart."""
    one, other = new_user(), new_user()
    with Agent(instance.sip_port, one) as caller, Agent(instance.sip_port, other) as callee:
        assert callee.register().status == 200
        call_id = caller.begin("INVITE", f"sip:{other}@example.com", f"Contact: <{caller.contact}>")
        invite = callee.receive("INVITE")
        callee.reply(invite, 200, "OK", f"Contact: <{callee.contact}>")
        answer = caller.final(call_id)
        assert ";proof=" in answer.value("Record-Route")
        caller.send(caller.within(answer, "ACK"))
        callee.receive("ACK")
        instance.deployment.kamailio.kill()
        instance.deployment.start_kamailio()
        caller.send(caller.within(answer, "BYE"))
        callee.accept("BYE")
        assert caller.final(call_id).status == 200


@pytest.mark.requirement("SEC-01", "IDN-02")
def test_credentials_do_not_serve_another_address(instance: Instance, new_user: Callable[..., str]) -> None:
    """What was overheard and is sent again from elsewhere is challenged, for MESSAGE and for REGISTER."""
    user, recipient = new_user(), new_user()
    with (
        Agent(instance.sip_port, user) as honest,
        Agent(instance.sip_port, user, address="127.0.0.2") as thief,
    ):
        assert honest.register().status == 200
        assert honest.message(recipient, b"paid 10").status == 202
        for overheard in (data for data in honest.sent if b"Authorization: Digest" in data):
            stolen = overheard.replace(b"127.0.0.1:%d" % honest.port, b"127.0.0.2:%d" % thief.port)
            stolen = stolen.replace(b"z9hG4bK", b"z9hG4bKx").replace(b"paid 10", b"paid 99")
            thief.send(stolen)
            assert thief.final().status in (401, 407)
    assert [instance.stored_bytes(recipient, entry["message_id"])[-7:] for entry in instance.stored(recipient)] == [
        b"paid 10"
    ]


GARBAGE = {
    "nothing": "",
    "scheme only": "Digest",
    "no values": "Digest garbage",
    "another scheme": "Basic YWxpY2U6YWxpY2Utc2VjcmV0",
    "name only": 'Digest username="alice"',
    "invented nonce": 'Digest username="alice", realm="example.com", nonce="x", uri="sip:x", response="y"',
    "another realm": f'Digest username="alice", realm="x", nonce="x", uri="sip:x", response="{"0" * 32}"',
    "long name": f'Digest username="{"a" * 5000}", realm="example.com", nonce="x", uri="sip:x", response="{"0" * 32}"',
    "bytes": 'Digest username="\udcff\udcfe", realm="example.com", nonce="\udcff", uri="sip:x", response="\udcff"',
    "unclosed": 'Digest username="alice',
    "equals signs": "Digest " + "=" * 5000,
    "commas": "Digest " + "," * 5000,
    "SQL": 'Digest username="alice\' OR 1=1 --", realm="example.com", nonce="x", uri="sip:x", response="y"',
}


@pytest.mark.requirement("SEC-01", "SEC-05")
@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_for_credentials(instance: Instance, name: str) -> None:
    """A challenge again, whatever they are."""
    line = f"Proxy-Authorization: {GARBAGE[name]}"
    with Whole(instance), Agent(instance.sip_port, "alice") as client:
        answer = client.ask("MESSAGE", "sip:bob@example.com", TEXT, ACCEPT_CONTACT, line, challenged=False)
        assert answer.status in (400, 407)
        assert client.message("dave").status == 202
    assert instance.stored("bob") == []
