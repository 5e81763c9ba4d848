"""What a bridged session holds its two MSRP sessions to: types, sizes, addresses, certificates, WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from msrp_worker.msrp import EndpointConfig, MsrpEndpoint, Session
from msrp_worker.offer_answer import Refusal
from msrp_worker.participating.media import BridgedMedia
from msrp_worker.participating.terms import End
from msrp_worker.sdp import Origin, SessionDescription
from tests.msrp_worker.participating.bridge import answered, described, parsed

HOST = "192.0.2.9"


@pytest.fixture
async def endpoint() -> AsyncIterator[MsrpEndpoint]:
    made = MsrpEndpoint(EndpointConfig(listen="127.0.0.1", port=0))
    await made.start()
    yield made
    await made.stop()


def media_of(
    endpoint: MsrpEndpoint, *, max_size: int | None = None, addresses: frozenset[str] | None = None
) -> BridgedMedia:
    return BridgedMedia(
        endpoint,
        HOST,
        lambda: Origin("-", "5", 5, HOST),
        lambda work: work.close(),
        max_size=max_size,
        ws_port=8080,
        addresses=addresses,
    )


def stand(media: BridgedMedia, offer: bytes, answer: bytes) -> tuple[SessionDescription, SessionDescription]:
    """Offer and answer through `media`: what the callee and the caller are told."""
    across = media.propose(End.CALLER, parsed(offer))
    assert isinstance(across, SessionDescription)
    back = media.agree(parsed(answer))
    assert isinstance(back, SessionDescription)
    return across, back


def session_at(endpoint: MsrpEndpoint, told: SessionDescription) -> Session:
    """The session whose path a side was told."""
    return next(one for one in endpoint.registry if one.local_text == told.media[0].attribute("path"))


@pytest.mark.requirement("MED-12", "LRG-06")
def test_each_side_is_held_to_what_the_other_one_takes(endpoint: MsrpEndpoint) -> None:
    media = media_of(endpoint, max_size=1000)
    offer = described("alice", "max-size:5000").replace(b"message/cpim text/plain", b"text/plain")
    answer = answered("bob", "max-size:200").replace(b"message/cpim text/plain", b"text/plain image/*")
    across, back = stand(media, offer, answer)
    of_callee, of_caller = session_at(endpoint, across), session_at(endpoint, back)
    assert (of_callee.options.max_size, of_caller.options.max_size) == (1000, 200)
    assert (across.media[0].attribute("max-size"), back.media[0].attribute("max-size")) == ("1000", "200")
    assert of_caller.options.accept.accepts("image/png")
    assert not of_callee.options.accept.accepts("image/png")


@pytest.mark.requirement("MED-10")
def test_addresses(endpoint: MsrpEndpoint) -> None:
    """Those of SDP for either side, for the caller that of its signalling too; none without the check."""
    across, back = stand(media_of(endpoint, addresses=frozenset({"203.0.113.5"})), described("alice"), answered("bob"))
    assert session_at(endpoint, across).options.peer_addresses == {"198.51.100.7"}
    assert session_at(endpoint, back).options.peer_addresses == {"198.51.100.7", "203.0.113.5"}
    across, back = stand(media_of(endpoint), described("alice"), answered("bob"))
    assert session_at(endpoint, across).options.peer_addresses is None


BROWSER = (
    described("alice")
    .replace(b"TCP/MSRP", b"TCP/TLS/MSRP")
    .replace(b"msrp://198.51.100.7:2855/alice;tcp", b"msrps://x.invalid:9/alice;ws")
)


@pytest.mark.requirement("MED-11", "MED-04")
def test_a_browser_is_told_of_the_http_port_and_the_callee_of_plain_msrp(endpoint: MsrpEndpoint) -> None:
    across, back = stand(media_of(endpoint), BROWSER, answered("bob"))
    assert across.media[0].protocol == "TCP/MSRP"
    assert (back.media[0].protocol, back.media[0].port) == ("TCP/TLS/MSRP", 8080)
    session = session_at(endpoint, back)
    assert (session.local.transport, session.local.port, session.local.secure) == ("ws", 8080, True)


@pytest.mark.requirement("MED-04")
def test_tls_that_is_not_served_is_refused_at_once(endpoint: MsrpEndpoint) -> None:
    offer = described("alice").replace(b"TCP/MSRP", b"TCP/TLS/MSRP").replace(b"msrp:", b"msrps:")
    refused = media_of(endpoint).propose(End.CALLER, parsed(offer))
    assert isinstance(refused, Refusal)
    assert refused.status == 488
    assert len(endpoint.registry) == 0
