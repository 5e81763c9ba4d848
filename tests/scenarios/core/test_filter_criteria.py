"""What the IM procedures are given and what they never see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT, Agent, Message
from tests.scenarios.bed import Instance, free_port
from tests.scenarios.evidence import address, assert_refused, kinds, refusals

HERE = Path(__file__).parent

NewUser = Callable[..., str]

HEADERS = [
    "User-Agent: phone/1",
    "Accept-Contact: *;audio",
    "Subject:  folded\r\n\tline",
    "X-Odd : spaces before the colon",
    "x-bytes: \udcff\udcfe",
    "s: compact",
    "Contact: <sip:a@127.0.0.1:9>;audio",
    "Content-Type: application/octet-stream",
]


def assert_only_relayed(sent: bytes, request: Message, *, record_routed: bool) -> None:
    """Compare with what a proxy does to any request: Via and Record-Route above, one hop less, credentials taken."""
    assert sent.partition(b"\r\n\r\n")[2] == request.body
    lines = sent.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    expected = [line for line in lines if not line.startswith((b"Via:", b"Max-Forwards:", b"Proxy-Authorization:"))]
    received = request.raw.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    added = [line for line in received if line.startswith((b"Via:", b"Max-Forwards:", b"Record-Route:"))]
    assert [line for line in received if line not in added] == expected
    assert len(added) == (4 if record_routed else 3)
    assert b"Max-Forwards: 69" in added


@pytest.mark.requirement("COR-03")
@pytest.mark.parametrize("away", [False, True], ids=["worker there", "worker away"])
def test_without_the_tag_nothing_is_touched(instance: Instance, new_user: NewUser, away: bool) -> None:
    """MESSAGE and INVITE without the tag arrive as any proxy relays them; no trace, no policy, no need of the worker."""
    sender, recipient = new_user(im_allowed="no"), new_user(pager_barred="yes", willing="no")
    if away:
        instance.deployment.worker.stop()
    try:
        with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, recipient) as agent:
            agent.register(f"<{agent.contact}>")
            calls = []
            for method in ("MESSAGE", "INVITE", "OPTIONS"):
                calls.append(origin.begin(method, address(recipient), *HEADERS, body=b"\x00\xff raw"))
                sent = origin.sent[-1]
                request = agent.receive(method)
                agent.reply(request, 486, "Busy Here", f"P-Asserted-Identity: <{address(recipient)}>")
                response = origin.final(calls[-1])
                assert response.values("P-Asserted-Identity") == [f"<{address(recipient)}>"]
                assert_only_relayed(sent, request, record_routed=method == "INVITE")
            assert origin.ask("MESSAGE", address("nobody-of-that-name"), body=b"x").status == 404
    finally:
        if away:
            instance.deployment.start_worker()
            instance.deployment.wait_ready()
    for call_id in calls:
        assert instance.deployment.command("trace", call_id).returncode != 0
        assert refusals(instance, call_id) == []
    assert instance.stored(recipient) == []


@pytest.mark.requirement("COR-03")
def test_call_with_sipp(instance: Instance, new_user: NewUser) -> None:
    """The files an operator runs by hand: an ordinary call between two users of the proxy."""
    caller, callee, port = new_user(), new_user(), free_port()
    with Agent(instance.sip_port, callee) as agent:
        agent.register(f"<sip:{callee}@127.0.0.1:{port}>")
    phone = instance.sipp(HERE / "take_call.xml", port=port)
    instance.sipp(HERE / "call.xml", user=caller, service=callee).wait()
    phone.wait()


WAYS = [
    [ACCEPT_CONTACT],
    ["a: *;+g.oma.sip-im"],
    ['Accept-Contact: *;audio;+G.OMA.SIP-IM="TRUE"'],
    ["Accept-Contact: *;audio", "Accept-Contact: *;+g.oma.sip-im;explicit"],
    ["Accept-Contact: *;audio, *;+g.oma.sip-im.large-message"],
]


@pytest.mark.requirement("COR-01", "COR-03")
def test_ways_to_write_the_tag(instance: Instance, new_user: NewUser) -> None:
    """Compact, in any case, with a value, in any of several values: the originating side is met (here: and refuses)."""
    sender, recipient = new_user(im_allowed="no"), new_user()
    with Agent(instance.sip_port, sender) as origin:
        calls = []
        for lines in WAYS:
            response = origin.ask("MESSAGE", address(recipient), *lines, "Content-Type: text/plain", body=b"x")
            assert response.status == 403, lines
            calls.append(response.value("Call-ID"))
    for call_id in calls:
        assert_refused(instance, call_id, 403, "PAG-02", address(sender), address(recipient))


@pytest.mark.requirement("COR-01", "COR-02", "PAG-02")
def test_other_initial_requests(instance: Instance, new_user: NewUser) -> None:
    """INVITE, SUBSCRIBE and REFER meet the originating side as MESSAGE does, and pass to the IM-capable device."""
    sender, forbidden, recipient = new_user(), new_user(im_allowed="no"), new_user()
    own = ("Contact: <sip:a@127.0.0.1:9>", "Event: conference", "Refer-To: <sip:x@example.com>")
    port = instance.sip_port
    refused, passed = [], []
    with Agent(port, sender) as origin, Agent(port, forbidden) as other, Agent(port, recipient) as agent:
        agent.register()
        for method in ("INVITE", "SUBSCRIBE", "REFER"):
            response = other.ask(method, address(recipient), ACCEPT_CONTACT, *own)
            assert response.status == 403
            refused.append(response.value("Call-ID"))
            passed.append(origin.begin(method, address(recipient), ACCEPT_CONTACT, *own))
            request = agent.receive(method)
            agent.reply(request, 603, "Decline")
            assert origin.final(passed[-1]).status == 603
            assert request.values("P-Asserted-Identity") == [f"<{address(sender)}>"]
            assert request.values("Contact") == ["<sip:a@127.0.0.1:9>"]
    for call_id in refused:
        assert_refused(instance, call_id, 403, "PAG-02", address(forbidden), address(recipient))
    for call_id in passed:
        assert kinds(instance, call_id, "failed") == ["received", "failed"]


@pytest.mark.requirement("COR-04", "COR-01", "COR-02", "SET-07")
def test_subscription_without_im(instance: Instance, new_user: NewUser) -> None:
    """im_service=no takes effect on the next request, on either side, and so does the way back."""
    sender, recipient = new_user(im_allowed="no"), new_user(pager_barred="yes")
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, recipient) as agent:
        agent.register()

        def attempt() -> int:
            response = origin.message(recipient)
            assert agent.quiet(0.05)
            return response.status

        assert attempt() == 403  # the sender's side refuses
        instance.command("user", "set", sender, "im_service=no")
        assert attempt() == 480  # no originating side any more; the recipient's refuses
        instance.command("user", "set", recipient, "im_service=no")
        call_id = origin.begin_message(recipient)
        request = agent.accept()  # neither side: relayed like anything else
        assert origin.final(call_id).status == 200
        assert request.values("Contact") == []
        instance.command("user", "set", sender, "im_service=yes", "im_allowed=yes")
        call_id = origin.begin_message(recipient)
        request = agent.accept()  # the originating side alone
        assert origin.final(call_id).status == 200
        assert request.values("P-Asserted-Identity") == [f"<{address(sender)}>"]
        assert request.values("Contact") == []
        agent.register(expires=0)
        assert origin.message(recipient).status == 404  # and nothing is kept for a user without the service
        assert instance.stored(recipient) == []
        instance.command("user", "set", recipient, "im_service=yes")
        assert attempt() == 480
