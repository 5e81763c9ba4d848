"""Service-wide operator policy that differs from the defaults, with exceptions per user."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address, assert_refused
from tests.scenarios.pager.conftest import Sent

SETTINGS = {
    "IM_PAGER_MAX_SIZE": "10",
    "IM_CONTENT_TYPES": "text/*,application/im-iscomposing+xml",
    "IM_BARRED_RESPONSE": "403",
    "IM_ANONYMITY": "refuse",
}

Send = Callable[..., Sent]
NewUser = Callable[..., str]


@pytest.mark.requirement("PAG-03", "PAG-17")
def test_size_and_type(instance: Instance, new_user: NewUser, send: Send) -> None:
    """The service's limits hold for whom nothing else is set; one user with more reaches only another with more."""
    plain, other = new_user(), new_user()
    large = [new_user(pager_max_size="100", content_types="*") for _ in range(2)]
    long, image = {"body": "more than ten"}, {"content_type": "image/png"}
    external = {"content_type": "message/external-body"}
    refused = [
        (plain, other, long, "Message body exceeds 10 bytes"),
        (large[0], other, long, "Message body exceeds 10 bytes"),
        (plain, other, image, "Content type image/png is not allowed"),
        (large[0], other, external, "Content type message/external-body is not allowed"),
    ]
    for sender, recipient, message, text in refused:
        sent = send(sender, recipient, **message)
        assert (sent.status, sent.warning) == (403, text)
        assert_refused(instance, sent.call_id, 403, "PAG-03", address(sender), address(recipient), traced=sender == plain)
    assert instance.stored(other) == []
    assert send(large[0], large[1], **long).status == 202
    assert send(large[0], large[1], **image).status == 202
    assert send(plain, other).status == 202


@pytest.mark.requirement("PAG-06")
def test_barred_with_the_configured_response(instance: Instance, new_user: NewUser, send: Send) -> None:
    """The operator's code in place of 480, nothing stored."""
    sender, recipient = new_user(), new_user(pager_barred="yes")
    sent = send(sender, recipient)
    assert sent.response.startswith("SIP/2.0 403 Refused")
    assert_refused(instance, sent.call_id, 403, "PAG-06", address(sender), address(recipient))
    assert instance.stored(recipient) == []


@pytest.mark.requirement("IDN-05", "IDN-04")
def test_anonymity_refused(instance: Instance, new_user: NewUser, send: Send) -> None:
    """Privacy: id where the operator does not allow it: 403, and even then nobody is named."""
    sender, recipient = new_user(), new_user()
    sent = send(sender, recipient, header_line="Privacy: id")
    assert (sent.status, sent.warning) == (403, "Anonymity is not allowed")
    assert_refused(instance, sent.call_id, 403, "IDN-05", "anonymous", address(recipient))
    assert instance.stored(recipient) == []
    assert send(sender, recipient, header_line="Privacy: none").status == 202
