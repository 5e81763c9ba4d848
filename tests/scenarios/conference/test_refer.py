"""REFER at the focus: who is added, who is removed, and what the one who asked is told (7.2.1.7, 7.2.1.8, RFC 3515)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from im_client.errors import SubscriptionError
from im_client.refer import refer
from im_client.referring import Referring
from tests.scenarios.bed import DOMAIN, Instance, instance_with
from tests.scenarios.conference.conference import User, address, new_users, over, text_of, users
from tests.scenarios.conference.groups import INITIATE, JOIN, identity, new_group, rules
from tests.scenarios.conference.watching import Watch

ADD = "<allow-invite-users-dynamically>true</allow-invite-users-dynamically>"
EXPEL = "<allow-expelling>true</allow-expelling>"


def outside(user: User, uri: str, names: list[str], **options: object) -> Referring:
    """A referral in a dialog of its own."""
    return Referring(user.client.calls.layer)


@pytest.mark.requirement("CNF-22", "CNF-24", "CNF-34")
async def test_one_user_is_added_within_the_dialog(instance: Instance, new_user: Callable[..., str]) -> None:
    """202, NOTIFYs until the 200 of the one who was called; then all three talk."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers = await alice.create([bob.name])
        his = await bob.joined()
        referring = await hers.add([address(carol.name)])
        assert (await referring.next()).status == 100
        invitation = await carol.invited()
        outcome = await referring.outcome()
        assert outcome is not None and outcome.status == 200
        third = await carol.joined()
        await third.send("here")
        assert [await text_of(hers), await text_of(his)] == ["here", "here"]
