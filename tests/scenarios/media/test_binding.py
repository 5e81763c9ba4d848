"""How a session comes to its connection, and to no other one (RFC 4975 sections 5.4, 6.1 and 7.3)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.media.parties import assert_talking, hang_up, metrics, nothing_left, talk, two_parties
from tests.scenarios.media.wire import MsrpSocket, text_message

SETTINGS = {"IM_MEDIA_PATH": "always", "IM_MSRP_PUBLIC_HOST": "Media.example.com"}
NewUser = Callable[..., str]

SAME = {
    "scheme in capitals": lambda uri: uri.replace("msrp://", "MSRP://"),
    "host in other case": lambda uri: uri.replace("Media.example.com", "mEDIA.EXAMPLE.com"),
    "host percent-encoded": lambda uri: uri.replace("Media", "%4dedia"),
    "userinfo": lambda uri: uri.replace("msrp://", "msrp://alice@"),
    "parameter": lambda uri: uri + ";x=y",
    "transport in capitals": lambda uri: uri.replace(";tcp", ";TCP"),
}
OTHER = {
    "scheme": lambda uri: uri.replace("msrp://", "msrps://"),
    "host": lambda uri: uri.replace("Media", "Medium"),
    "port": lambda uri: re.sub(r":(\d+)/", ":9/", uri),
    "no port": lambda uri: re.sub(r":(\d+)/", "/", uri),
    "session-id in other case": lambda uri: re.sub(r"/([^/;]+);", lambda found: f"/{found.group(1).swapcase()};", uri),
    "session-id cut": lambda uri: uri.replace(";tcp", "")[:-1] + ";tcp",
    "no session-id": lambda uri: re.sub(r"/[^/;]+;", ";", uri),
    "transport": lambda uri: uri.replace(";tcp", ";ws"),
    "a hop more": lambda uri: f"msrp://relay.example.com:2855;tcp {uri}",
}
Change = Callable[[str], str]


@pytest.mark.requirement("MED-03", "MED-01", "MED-02")
def test_the_first_send_binds(instance: Instance, new_user: NewUser) -> None:
    """A SEND without a body, then content both ways; a success report comes from the other end."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        with caller.bind() as one, callee.accept() as other:
            assert_talking(one, caller, other, callee)
        assert caller.released().value("Reason")
        callee.released()


@pytest.mark.requirement("MED-03")
def test_the_first_send_may_have_content(instance: Instance, new_user: NewUser) -> None:
    """RFC 4975 section 5.4: it can be any SEND."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.connect(), callee.accept()
        assert one.ask(text_message(caller.server, caller.path, b"first")) == 200
        assert other.message().body == b"first"
        hang_up(caller, callee)


@pytest.mark.requirement("MED-03")
@pytest.mark.parametrize("spelled", SAME.values(), ids=SAME)
def test_another_spelling_of_the_uri_binds(instance: Instance, new_user: NewUser, spelled: Change) -> None:
    """RFC 4975 section 6.1: equal after its rules."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.connect(), callee.accept()
        assert spelled(caller.server) != caller.server
        assert one.ask(caller.greeting(spelled(caller.server))) == 200
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-03", "MED-10")
def test_another_uri_is_unknown(instance: Instance, new_user: NewUser) -> None:
    """481 for whatever differs in what counts; the session still waits for who names it."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        before = metrics(instance)['im_msrp_refused_total{code="481"}']
        for what, spelled in OTHER.items():
            assert spelled(caller.server) != caller.server
            assert caller.connect().ask(caller.greeting(spelled(caller.server))) == 481, what
        assert metrics(instance)['im_msrp_refused_total{code="481"}'] == before + len(OTHER)
        one, other = caller.bind(), callee.accept()
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-03", "MED-10")
def test_a_bound_session_is_not_taken_over(instance: Instance, new_user: NewUser) -> None:
    """506 on a second connection, for either side's session; those who talk do not notice."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        port = instance.deployment.config.msrp_port
        for party in (caller, callee):
            with MsrpSocket.to(port) as thief:
                assert thief.ask(text_message(party.server, party.path, b"mine now")) == 506
                assert thief.ask(party.greeting()) == 506
        assert metrics(instance)['im_msrp_refused_total{code="506"}'] >= 4
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-10")
def test_a_uri_is_a_secret_and_used_once(instance: Instance, new_user: NewUser) -> None:
    """128 random bits, another one for each side and session; after the session nobody is at the URI any more."""
    seen = []
    user, peer = new_user(), new_user()
    for _ in range(2):
        with two_parties(instance, user, peer) as (caller, callee):
            talk(caller, callee)
            one, other = caller.bind(), callee.accept()
            assert_talking(one, caller, other, callee)
            hang_up(caller, callee)
            seen += [caller.server, callee.server]
            with MsrpSocket.to(instance.deployment.config.msrp_port) as late:
                for party in (caller, callee):
                    assert late.ask(party.greeting()) == 481
    idents = {re.sub(r"^.*/|;tcp$", "", uri) for uri in seen}
    assert len(idents) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22,}", ident) for ident in idents)  # 22 characters of 6 bits
    nothing_left(instance)


@pytest.mark.requirement("MED-10")
def test_without_the_address_check_any_address_may_bind(instance: Instance, new_user: NewUser) -> None:
    """The default: phones change their address between SIP and MSRP, behind NATs above all."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.connect(source="127.0.0.2"), callee.accept()
        assert one.ask(caller.greeting()) == 200
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-03", "SEC-02")
def test_guessing_ends_the_connection(instance: Instance, new_user: NewUser) -> None:
    """Five requests for unknown sessions on a connection that has none: answered, then closed."""
    with MsrpSocket.to(instance.deployment.config.msrp_port) as guesser:
        for number in range(5):
            uri = f"msrp://Media.example.com:{instance.deployment.config.msrp_port}/guess{number};tcp"
            assert guesser.ask(text_message(uri, "msrp://127.0.0.1:9/x;tcp")) == 481
        assert guesser.closed()
