"""A MESSAGE to an IM Session Identity reaches the participants as from that identity (8.3.1.1-4, -8)."""

from __future__ import annotations

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance
from tests.scenarios.conference.conference import all_in, new_users
from tests.scenarios.evidence import address
from tests.scenarios.group_messages.messages import NewUser


@pytest.mark.requirement("PAG-13", "PAG-15", "PAG-18")
async def test_to_those_in_a_session(instance: Instance, new_user: NewUser) -> None:
    """Everybody but the sender, while the session goes on; who is not in it and who names another session get 403."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers = await alice.create([bob.name, carol.name])
        his, third = await bob.joined(), await carol.joined()
        await all_in(hers, his, third)
        identity = hers.peer.identity
        response = await bob.client.send(identity, "beside the session")
        assert response.status == 202
        for one in (alice, carol):
            message = await one.client.next_message()
            assert message.body == b"beside the session"
            assert str(message.request.headers.get("From")).startswith(f"<{identity}>")
            assert message.request.headers.get("P-Asserted-Identity") == f"<{address(bob.name)}>"
        with Agent(instance.sip_port, new_user()) as stranger:
            for target, text in (
                (identity, "Not a participant"),
                (identity.replace("im-session-", "im-session-0"), "No such"),
            ):
                refused = stranger.message(target)
                assert refused.status == 403 and text in refused.value("Warning")
        await hers.close()


@pytest.mark.requirement("PAG-13", "IDN-08")
async def test_who_is_nameless_in_a_session_writes_so(instance: Instance, new_user: NewUser) -> None:
    """A message beside the session names nobody whom the session does not name, whether it asks for that or not."""
    async with new_users(instance, new_user, 2) as (alice, bob):
        bob.answer_headers = [("Privacy", "id")]
        hers = await alice.create([bob.name])
        his = await bob.joined()
        await all_in(hers, his)
        assert (await bob.client.send(his.peer.identity, "guess who")).status == 202
        message = await alice.client.next_message()
        assert message.body == b"guess who"
        assert bob.name not in str(bytes(message.request).partition(b"\r\n\r\n")[0])
        assert message.request.headers.get("Privacy") == "id"
