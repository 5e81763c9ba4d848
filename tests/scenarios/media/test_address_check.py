"""`IM_MSRP_ADDRESS_CHECK=yes`: a session URI alone opens nothing (MED-10)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.media.parties import assert_talking, hang_up, metrics, talk, two_parties
from tests.scenarios.media.wire import MsrpSocket

SETTINGS = {"IM_MEDIA_PATH": "always", "IM_MSRP_ADDRESS_CHECK": "yes"}
NewUser = Callable[..., str]


@pytest.mark.requirement("MED-10")
def test_only_the_named_address_may_bind(instance: Instance, new_user: NewUser) -> None:
    """403 for who overheard the URI and comes from elsewhere; the rightful user is not harmed."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        before = metrics(instance)['im_msrp_refused_total{code="403"}']
        with caller.connect(source="127.0.0.2") as thief:
            assert thief.ask(caller.greeting()) == 403
        assert metrics(instance)['im_msrp_refused_total{code="403"}'] == before + 1
        assert "127.0.0.2 may not bind" in instance.worker_log()
        one, other = caller.bind(), callee.accept()
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-10", "MED-05")
def test_an_active_callee_is_checked_too(instance: Instance, new_user: NewUser) -> None:
    """The callee connects: after its answer only from the address in it."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee, answer=callee.describe(setup="active"))
        with callee.connect(source="127.0.0.2") as thief:
            assert thief.ask(callee.greeting()) == 403
        one, other = caller.bind(), callee.bind()
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-10", "PFS-09")
def test_who_is_faster_than_the_answer_gains_nothing(instance: Instance, new_user: NewUser) -> None:
    """A connection from elsewhere before the callee has answered: closed by the answer, and both sides are released."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        callee.agent.register()
        call_id = caller.invite(callee.agent.user, caller.describe())
        invite = callee.invited()
        with MsrpSocket.to(instance.deployment.config.msrp_port, source="127.0.0.2") as thief:
            assert thief.ask(callee.greeting()) == 200
            content = callee.describe(setup="active")
            callee.agent.reply(invite, 200, "OK", callee.contact, "Content-Type: application/sdp", body=content)
            assert thief.closed()
        caller.answered(call_id)
        caller.released()
        callee.released()
