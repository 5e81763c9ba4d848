"""A MESSAGE with a URI-list to the conference factory becomes one MESSAGE for each recipient (8.3.1.1, RFC 5365)."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import Any

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address
from tests.scenarios.group_messages.messages import FACTORY, NewUser, copies, outcomes, uri_list, with_list

SETTINGS = {"IM_ADHOC_MAX_PARTICIPANTS": "4"}
TO, CC, BCC = ('cp:copyControl="to"', 'cp:copyControl="cc"', 'cp:copyControl="bcc"')


@pytest.mark.requirement("PAG-11", "PAG-15", "HDR-02")
def test_each_on_the_list_gets_a_copy(instance: Instance, new_user: NewUser) -> None:
    """202 for the sender; one MESSAGE each, from the sender, asking for the feature tag, with a Call-ID of its own."""
    sender, bob, carol = new_user(), new_user(), new_user()
    with ExitStack() as stack:
        origin, *agents = [stack.enter_context(Agent(instance.sip_port, name)) for name in (sender, bob, carol)]
        for agent in agents:
            agent.register()
        content = with_list(uri_list(address(bob), address(carol), address(bob).replace("sip:", "sip:") + ";x=y"))
        call_id = origin.begin_message(FACTORY, content.pop("body"), "Subject: lunch", **content)
        assert origin.final(call_id).status == 202
        got = copies(agents)
        for agent, copy in zip(agents, got, strict=True):
            assert copy.body == b"Hello"
            assert copy.value("Content-Type") == "text/plain"
            assert copy.value("From").partition(";tag=")[0] == f"<{address(sender)}>"
            assert copy.value("To") == f"<{address(agent.user)}>"
            assert copy.value("P-Asserted-Identity") == f"<{address(sender)}>"
            assert copy.value("Accept-Contact") == "*;+g.oma.sip-im;require;explicit"
            assert copy.value("Subject") == "lunch"
            assert copy.value("User-Agent").startswith("IM-serv/OMA1.0 ")
            assert agent.quiet(0.2), "one copy, however often the list names the address"
        assert len({call_id, *(copy.value("Call-ID") for copy in got)}) == 3
    assert outcomes(instance, call_id, 2) == {
        address(bob): ("copy-delivered", 200),
        address(carol): ("copy-delivered", 200),
    }
    assert instance.in_store(lambda store: store.database.read("SELECT identity FROM explosion")) == []


@pytest.mark.requirement("PAG-11", "DEF-01")
def test_the_copy_for_who_is_away_waits(instance: Instance, new_user: NewUser) -> None:
    sender, there, away = new_user(), new_user(), new_user()
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, there) as agent:
        agent.register()
        content = with_list(uri_list(address(there), address(away), "sip:nobody@example.com"))
        call_id = origin.begin_message(FACTORY, content.pop("body"), **content)
        assert origin.final(call_id).status == 202
        agent.accept()
    assert outcomes(instance, call_id, 3) == {
        address(there): ("copy-delivered", 200),
        address(away): ("copy-deferred", 202),
        "sip:nobody@example.com": ("copy-failed", 404),
    }
    (entry,) = instance.stored(away)
    stored = instance.stored_bytes(away, entry["message_id"])
    assert stored.endswith(b"\r\n\r\nHello") and entry["originator"] == address(sender)


@pytest.mark.requirement("PAG-11", "IDN-04")
def test_recipients_learn_what_they_may(instance: Instance, new_user: NewUser) -> None:
    """copyControl and anonymize (RFC 5364): `to` and `cc` are told, `bcc` is not, an anonymised entry is a number."""
    sender, bob, carol, dave = (new_user() for _ in range(4))
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, bob) as agent:
        agent.register()
        listed = uri_list((address(bob), TO), (address(carol), CC + ' cp:anonymize="true"'), (address(dave), BCC))
        content = with_list(listed)
        assert origin.message(FACTORY, content.pop("body"), "Require: recipient-list-message", **content).status == 202
        copy = agent.accept()
    assert copy.value("Content-Type").startswith("multipart/mixed")
    assert b"recipient-list-history; handling=optional" in copy.body and b"\r\n\r\nHello\r\n" in copy.body
    assert address(bob).encode() in copy.body and b"anonymous@anonymous.invalid" in copy.body
    assert address(carol).encode() not in copy.body and address(dave).encode() not in copy.body
    assert copy.values("Require") == []


@pytest.mark.requirement("PAG-11", "IDN-04", "PAG-15")
def test_an_anonymous_sender_stays_so(instance: Instance, new_user: NewUser) -> None:
    sender, bob = new_user(), new_user()
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, bob) as agent:
        agent.register()
        content = with_list(uri_list(address(bob)))
        hidden = '"Anonymous" <sip:anonymous@anonymous.invalid>'
        call_id = origin.begin_message(FACTORY, content.pop("body"), "Privacy: id", sender=hidden, **content)
        assert origin.final(call_id).status == 202
        copy = agent.accept()
    assert sender.encode() not in copy.raw
    assert copy.value("From").startswith(hidden)
    assert all(event["originator"] == "anonymous" for event in instance.trace(call_id))


@pytest.mark.requirement("PAG-11", "SEC-05")
def test_any_bytes(instance: Instance, new_user: NewUser) -> None:
    """What is no text arrives as it was sent."""
    sender, bob = new_user(), new_user()
    picture = b"\x89PNG\r\n\x1a\n\x00" + bytes(range(256))
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, bob) as agent:
        agent.register()
        content = with_list(uri_list(address(bob)), picture, "image/png")
        assert origin.message(FACTORY, content.pop("body"), **content).status == 202
        copy = agent.accept()
    assert (copy.value("Content-Type"), copy.body) == ("image/png", picture)


@pytest.mark.requirement("PAG-11", "SEC-05")
@pytest.mark.parametrize(
    ("content", "headers", "status", "requirement"),
    [
        ({"body": b"Hello"}, (), 400, "PAG-11"),
        (with_list(uri_list()), (), 400, "PAG-11"),
        (with_list(b"<resource-lists"), (), 400, "PAG-11"),
        (with_list(uri_list("mailto:bob@example.com")), (), 400, "PAG-11"),
        (with_list(uri_list("mailto:&quot;,&#39;\\&#13;x")), (), 400, "PAG-11"),
        (with_list(uri_list(("sip:bob@example.com", 'cp:copyControl="maybe"'))), (), 400, "PAG-11"),
        (with_list(uri_list(*(f"sip:u{n}@a.example" for n in range(5)))), (), 413, "PAG-11"),
        (with_list(uri_list("sip:bob@example.com")), ("Require: recipient-list-message, more",), 420, "PAG-11"),
        (with_list(uri_list("sip:bob@example.com")), ("IM-Exploded: 3",), 482, "SEC-03"),
    ],
)
def test_a_bad_list_reaches_nobody(
    instance: Instance, new_user: NewUser, content: dict[str, Any], headers: tuple[str, ...], status: int, requirement: str
) -> None:
    """Each with a text that says what is wrong."""
    sender = new_user()
    with Agent(instance.sip_port, sender) as origin:
        response = origin.message(
            FACTORY, content["body"], *headers, content_type=content.get("content_type", "text/plain")
        )
    assert response.status == status
    warning = response.value("Warning")
    assert re.fullmatch(r'399 \S+ "[^"\\]+"', warning) or response.value("Unsupported") == "more"
    (step,) = [step for step in instance.trace(response.value("Call-ID")) if step["kind"] == "refused"]
    assert (step["status"], step["requirement"]) == (status, requirement)
    assert instance.in_store(lambda store: store.database.read("SELECT identity FROM explosion")) == []


@pytest.mark.requirement("PAG-11", "PAG-15", "SEC-01")
def test_header_fields_of_a_part_stay_what_they_are(instance: Instance, new_user: NewUser) -> None:
    """What is left of a body with parts loses its wrapper (RFC 5365 section 7.3); what its sender wrote beside Content-Type
    becomes no header field of SIP, but for those of the same meaning there."""
    sender, bob, victim = new_user(), new_user(), new_user()
    stranger = (
        f"P-Asserted-Identity: <{address(victim)}>",
        f"From: <{address(victim)}>;tag=1",
        "Route: <sip:127.0.0.1:9;lr>",
        "Privacy: id",
        "Content-Length: 1",
        "Content-Language: de",
    )
    document = uri_list(address(bob))
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, bob) as agent:
        agent.register()
        content = with_list(
            document, b"aGVsbG8=", "text/plain\r\nContent-Transfer-Encoding: base64\r\n" + "\r\n".join(stranger)
        )
        assert origin.message(FACTORY, content.pop("body"), **content).status == 202
        copy = agent.accept()
    assert victim not in copy.head
    assert copy.values("P-Asserted-Identity") == [f"<{address(sender)}>"]
    assert copy.values("Content-Language") == ["de"]
    assert (copy.values("Privacy"), copy.values("Route"), copy.values("Content-Transfer-Encoding")) == ([], [], [])
    assert copy.body == b"hello"


@pytest.mark.requirement("PAG-11", "SEC-05")
def test_a_list_within_parts_of_parts(instance: Instance, new_user: NewUser) -> None:
    """It could not be taken out of the copies, and would tell everybody of those of `bcc`: 400."""
    sender, bob, carol = new_user(), new_user(), new_user()
    inner = with_list(uri_list((address(bob), TO), (address(carol), BCC)))
    body = b"--b2\r\nContent-Type: %b\r\n\r\n%b\r\n--b2--\r\n" % (inner["content_type"].encode(), inner["body"])
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, bob) as agent:
        agent.register()
        refused = origin.message(FACTORY, body, content_type='multipart/mixed;boundary="b2"')
        assert refused.status == 400 and "parts of parts" in refused.value("Warning")
        assert agent.quiet(0.2)
