"""How a session comes to its connection, and to no other one (RFC 4975 sections 5.4, 6.1 and 7.3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.media.parties import assert_talking, talk, two_parties

SETTINGS = {"IM_MEDIA_PATH": "always"}
NewUser = Callable[..., str]


@pytest.mark.requirement("MED-03")
def test_the_first_send_binds(instance: Instance, new_user: NewUser) -> None:
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        with caller.bind() as one, callee.accept() as other:
            assert_talking(one, caller, other, callee)
