"""Two devices of the callee answer at once: one has the session, the other is acknowledged and released."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance, wait_until
from tests.scenarios.evidence import address
from tests.scenarios.sessions.party import Party, described
from tests.scenarios.sessions.test_trouble import metric

SETTINGS = {"IM_MEDIA_PATH": "always"}
NewUser = Callable[..., str]


def released(party: Party) -> list[str]:
    """The methods of what comes until a BYE, each answered; CANCEL may be among them, as it crosses the 200."""
    methods: list[str] = []
    while "BYE" not in methods:
        request = party.receive()
        methods.append(request.method)
        if request.method != "ACK":
            party.answer(request, 200)
    return methods


@pytest.mark.requirement("PFS-02", "PFS-09")
def test_the_second_answer_is_acknowledged_and_released(instance: Instance, new_user: NewUser) -> None:
    """RFC 3261 section 13.2.2.4: who answers too late gets an ACK, so that it stops repeating itself, and then a BYE.
    Nothing is left in Kamailio, which sends that ACK for us."""
    user = new_user()
    with (
        Party(instance.sip_port, new_user()) as caller,
        Party(instance.sip_port, user) as first,
        Party(instance.sip_port, user) as second,
    ):
        for party in (caller, first, second):
            party.register()
        caller.invite(address(user), described("caller"))
        invites = {party: party.invited() for party in (first, second)}
        for party, invite in invites.items():
            party.answer(invite, 200, body=described("callee", setup="active"))
        caller.established()
        assert [method for method in released(second) if method != "CANCEL"] == ["ACK", "BYE"]
        assert first.heard("ACK")
        number = caller.begin_within("BYE")
        first.answer(first.heard("BYE"), 200)
        assert caller.outcome_of(number).status == 200
        wait_until(lambda: metric(instance, "im_legs") == 0, "no leg is left")
        wait_until(lambda: int(instance.deployment.rpc("tm.stats")["current"]) <= 1, "no transaction is left")
