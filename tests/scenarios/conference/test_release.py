"""Release of sessions: the operator's variables, a dead client, a worker that dies (7.2.1.12, 7.2.2.8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from im_client.errors import SessionRefusedError
from tests.scenarios.bed import Instance, async_until, instance_with
from tests.scenarios.conference.conference import address, all_in, over, text_of, users
from tests.scenarios.conference.groups import new_group
from tests.scenarios.conference.signalling import agents, answer, begin_session, sdp


@pytest.fixture
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance whose group sessions end with their originator, and whose sessions last three seconds."""
    settings = {"IM_AUTO_RELEASE": "1", "IM_SESSION_MAX_SECONDS": "4", "IM_REMAINING_PARTICIPANTS": "0"}
    with instance_with(tmp_path_factory.mktemp("strict"), settings) as running:
        yield running


@pytest.mark.requirement("CNF-29", "CNF-10")
async def test_the_operators_variables(strict: Instance) -> None:
    """auto-release, number-of-remaining-participants, session max length."""
    async with users(strict, ["alice", "bob", "carol"]) as (alice, bob, carol):
        group = new_group(strict, ["alice", "bob", "carol"])
        hers = await alice.join(group)
        his, third = await bob.joined(), await carol.joined()
        await hers.close()
        for session in (his, third):
            assert "initiator" in await over(session)
        hers = await alice.create(["bob"])
        his = await bob.joined()
        await his.close()  # one-to-one: over, whatever the variable says
        assert "410" in await over(hers)
        hers = await alice.create(["bob", "carol"])
        his, third = await bob.joined(), await carol.joined()
        await his.close()
        await third.close()
        assert hers.alive  # nobody needs to be left
        assert "408" in await over(hers)  # but not for ever


@pytest.mark.requirement("CNF-28", "CNF-21", "HDR-04")
def test_refresh_and_change_inside_the_dialog(instance: Instance, new_user: Callable[..., str]) -> None:
    """re-INVITE and UPDATE get 200 with refresher=uac; an offer that cannot be is 488 and changes nothing."""
    names = [new_user() for _ in range(2)]
    with agents(instance, names) as (alice, bob):
        call_id = begin_session(alice, [address(names[1])])
        answer(bob, bob.receive("INVITE"))
        accepted = alice.final(call_id)
        alice.send(alice.within(accepted, "ACK"))
        for method, body, status in (
            ("UPDATE", b"", 200),
            ("INVITE", sdp("a=inactive", version=2), 200),
            ("INVITE", sdp(types="text/plain", wrapped="", version=3), 488),
            ("UPDATE", sdp(version=4), 200),
            ("INVITE", b"", 200),
        ):
            request = alice.within(accepted, method)
            extra = (
                b"Session-Expires: 1800;refresher=uac\r\nSupported: timer\r\nContact: <" + alice.contact.encode() + b">\r\n"
            )
            if body:
                extra += b"Content-Type: application/sdp\r\n"
            request = request.replace(
                b"Content-Length: 0\r\n\r\n", extra + b"Content-Length: %d\r\n\r\n" % len(body) + body
            )
            alice.send(request)
            response = alice.final(call_id)
            assert response.status == status, (method, response.head)
            if status == 200:
                assert "refresher=uac" in response.value("Session-Expires")
                assert response.value("Contact") == accepted.value("Contact")  # HDR-03
            if method == "INVITE" and status == 200:
                ack = alice.within(response, "ACK")
                if not body:  # its offer in the 200, our answer in the ACK
                    kind = b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(
                        sdp(setup="active", version=5)
                    )
                    ack = ack.replace(b"Content-Length: 0\r\n\r\n", kind + sdp(setup="active", version=5))
                alice.send(ack)
        alice.send(alice.within(accepted, "BYE"))
        assert alice.final(call_id).status == 200
        bob.receive("ACK")
        assert "410" in bob.receive("BYE").value("Reason")


@pytest.mark.requirement("SEC-06", "CNF-17", "CNF-20")
async def test_the_worker_dies(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its legs are released by the next one; whoever joins the group begins anew; the old identity is unknown."""
    with instance_with(tmp_path_factory.mktemp("dies")) as instance:
        async with users(instance, ["alice", "bob"]) as (alice, bob):
            group = new_group(instance, ["alice", "bob"])
            hers = await alice.join(group)
            his = await bob.joined()
            identity = hers.peer.identity
            hers.line.on_peer = his.line.on_peer = None
            await asyncio.to_thread(kill_worker, instance)
            await asyncio.gather(over(hers), over(his))
            with pytest.raises(SessionRefusedError) as refused:
                await alice.join(identity)
            assert refused.value.status == 404
            again = await alice.join(group)
            other = await bob.joined()
            await all_in(again, other)
            await again.send("back")
            assert await text_of(other) == "back"


def kill_worker(instance: Instance) -> None:
    """SIGKILL, and a new one."""
    instance.deployment.worker.kill()
    instance.deployment.start_worker()
    instance.deployment.wait_ready()


@pytest.mark.requirement("CNF-15")
async def test_only_the_invited_come_to_an_ad_hoc_session(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who declined may still come by the identity; a stranger who knows it may not."""
    names = [new_user() for _ in range(4)]
    async with users(instance, names) as (alice, bob, carol, dave):
        carol.accepts = 480
        hers = await alice.create(names[1:3])
        await bob.joined()
        late = await carol.join(hers.peer.identity)
        await late.send("sorry, late")
        assert await text_of(hers) == "sorry, late"
        with pytest.raises(SessionRefusedError) as refused:
            await dave.join(hers.peer.identity)
        assert refused.value.status == 403
        await async_until(lambda: "CNF-15 refused 403" in instance.worker_log(), "refusal in the log")
