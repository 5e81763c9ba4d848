"""Behind a real core, `IM_MEDIA_PATH=always`: the signalling of bridged sessions header by header, and foci elsewhere.

The scenarios of the deployment in the core itself, which run here again, through two Kamailio servers.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scenarios.separate_core.behind import Behind, behind_with
from tests.scenarios.sessions.foci import FOCUS_ADDRESS
from tests.scenarios.sessions.test_bridged_signalling import (
    test_a_caller_that_insists_on_100rel,
    test_a_new_offer_of_either_side,
    test_an_offer_that_is_refused,
    test_cancel,
    test_cancel_crosses_the_200,
    test_glare,
    test_headers_of_the_invite_and_its_responses,
    test_privacy_of_both,
    test_refreshes_and_offerless_invites_are_answered_here,
    test_reliable_provisional_responses_on_both_legs,
)
from tests.scenarios.sessions.test_focus_elsewhere import (
    client,
    focus,
    test_refer_out_of_the_dialog,
    test_refer_within_the_dialog,
    test_subscribe_out_of_the_dialog,
    test_subscribe_within_the_dialog,
    test_the_contact_leads_back_to_the_focus_after_the_session,
)

__all__ = [
    "client",
    "focus",
    "test_a_caller_that_insists_on_100rel",
    "test_a_new_offer_of_either_side",
    "test_an_offer_that_is_refused",
    "test_cancel",
    "test_cancel_crosses_the_200",
    "test_glare",
    "test_headers_of_the_invite_and_its_responses",
    "test_privacy_of_both",
    "test_refer_out_of_the_dialog",
    "test_refer_within_the_dialog",
    "test_refreshes_and_offerless_invites_are_answered_here",
    "test_reliable_provisional_responses_on_both_legs",
    "test_subscribe_out_of_the_dialog",
    "test_subscribe_within_the_dialog",
    "test_the_contact_leads_back_to_the_focus_after_the_session",
]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    settings = {"IM_MEDIA_PATH": "always", "IM_TRUSTED_PEERS": FOCUS_ADDRESS}
    with behind_with(tmp_path_factory.mktemp("instance"), settings) as running:
        yield running
