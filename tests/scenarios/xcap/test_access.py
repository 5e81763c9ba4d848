"""Who may have a document, and what hostile requests do to the worker: nothing (XDM-06, SEC-02, SEC-05)."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from collections.abc import Callable

import pytest

from im_client.message_summary import Counts
from tests.scenarios.bed import Instance, wait_until
from tests.scenarios.delivery.conftest import Store
from tests.scenarios.traffic import address
from tests.scenarios.xcap.conftest import ask, list_of, raw, request

SETTINGS = {
    "IM_TRUSTED_PEERS": "127.0.0.9",
    "IM_USER_RATE": "0",
    "IM_SOURCE_RATE": "100000",
    "IM_HTTP_SECONDS": "1",
    "IM_XCAP_TRUSTED_PROXIES": "127.0.0.5",
}
REFERENCE = "/~~/history-list/history%5b@history-reference=%22sip:{}%22%5d"


def metric(instance: Instance, name: str) -> float:
    """A value of /metrics, 0 when it is not there."""
    url = f"http://127.0.0.1:{instance.deployment.config.http_port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.requirement("XDM-06", "DEF-09")
async def test_only_the_owner(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    """Another user, a wrong password, nobody at all; the answers tell nothing, the log tells the operator."""
    owner, other = new_user(), new_user()
    await store(owner, 1)
    (entry,) = instance.stored(owner)
    item = list_of(owner, REFERENCE.format(entry["message_id"]))
    for target in (list_of(owner), item, list_of("nobody-at-all")):
        for method in ("GET", "DELETE", "PUT"):
            anonymous = raw(instance, request(method, target))
            assert anonymous.status == 401
            kinds = [re.findall(r"algorithm=(\S+)", value)[0] for value in anonymous.header("WWW-Authenticate")]
            assert kinds == ["SHA-256", "MD5"]
            assert ask(instance, method, target, other).status == 403
    assert ask(instance, "DELETE", item, owner, password="wrong").status == 401
    assert ask(instance, "DELETE", item, "nobody-at-all").status == 401
    assert len(instance.stored(owner)) == 1
    log = instance.worker_log()
    assert (
        f"XDM-06 refused 403 DELETE org.openmobilealliance.deferred-list from 127.0.0.1 originator={address(other)}" in log
    )
    assert f"XDM-06 refused 401 DELETE org.openmobilealliance.deferred-list from 127.0.0.1 originator={owner}: wrong" in log
    assert ask(instance, "DELETE", item, owner).status == 200
    assert instance.stored(owner) == []


@pytest.mark.requirement("XDM-06", "DEF-09")
async def test_a_user_behind_an_aggregation_proxy(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    """Its word counts from its own address alone."""
    owner = new_user()
    await store(owner, 1)
    header = f'X-3GPP-Asserted-Identity: "{address(owner)}"'
    assert raw(instance, request("DELETE", list_of(owner), header)).status == 401
    assert raw(instance, request("DELETE", list_of("alice"), header), source="127.0.0.5").status == 403
    assert raw(instance, request("DELETE", list_of(owner), header), source="127.0.0.5").status == 200
    assert instance.stored(owner) == []


@pytest.mark.requirement("XDM-01")
async def test_what_this_server_has(instance: Instance, new_user: Callable[..., str]) -> None:
    """xcap-caps names each kind of document; what is known already does not come again."""
    async with instance.client(new_user()) as client:
        found = await client.documents.get("/xcap-caps/global/index")
        assert found.content_type == "application/xcap-caps+xml"
        for text in (
            b"<auid>org.openmobilealliance.deferred-list</auid>",
            b"<namespace>urn:oma:xml:im:history-list</namespace>",
        ):
            assert text in found.body
        assert (await client.documents.get("/xcap-caps/global/index", if_none_match=found.etag)).status == 304
        refused = await client.documents.request("PUT", "/xcap-caps/global/index", body=b"<x/>")
        assert refused.status == 405


@pytest.mark.requirement("XDM-01", "SEC-05", "DEF-09")
async def test_requests_that_no_good_client_sends(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    """Each gets its answer, and nothing is deleted."""
    owner = new_user()
    await store(owner, 2)
    bomb = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><history-list>&x;</history-list>'
    whole = "Content-Type: application/vnd.oma.im.deferred-list+xml"
    rows: tuple[tuple[str, str, tuple[str, ...], bytes, int], ...] = (
        ("PUT", "", (whole,), bomb, 405),
        ("PUT", "", (whole, "Content-Length: 99999999999"), b"", 405),
        ("POST", "", (), b"x", 405),
        ("PUT", "/~~/history-list/history", ("Content-Type: application/xcap-el+xml",), b"<history/>", 405),
        ("DELETE", "/~~/history-list", (), b"", 409),
        ("DELETE", "/~~/history-list/history%5b1%5d", (), b"", 409),
        ("DELETE", "/~~/history-list/history", (), b"", 404),
        ("DELETE", "/~~/history-list/history%5b2%5d/size", (), b"", 409),
        ("DELETE", "/~~/history-list/namespace::*", (), b"", 405),
        ("DELETE", "/~~/history-list/*%5bcontains(.,%22a%22)%5d", (), b"", 404),
        ("DELETE", "/~~/x:history-list", (), b"", 400),
        ("DELETE", "/~~/", (), b"", 400),
        ("DELETE", "/~~/history-list/%zz", (), b"", 400),
        ("DELETE", "", ('If-Match: "other"',), b"", 412),
        ("DELETE", "", ("If-None-Match: *",), b"", 412),
    )
    for method, rest, headers, body, status in rows:
        answer = ask(instance, method, list_of(owner, rest), owner, *headers, body=body)
        assert answer.status == status, (method, rest, headers)
        if status == 409:
            assert answer.header("Content-Type") == ["application/xcap-error+xml"]
    long = list_of(owner, "/~~/" + "x" * 20_000)
    assert raw(instance, request("GET", long)).status in (400, 414)
    assert len(instance.stored(owner)) == 2
    assert metric(instance, 'im_xcap_requests_total{status="405"}') >= 4


@pytest.mark.requirement("SEC-02", "XDM-01")
async def test_slow_clients_cost_a_second(instance: Instance, new_user: Callable[..., str]) -> None:
    """Many of them, beside a user who is served at once."""
    before = metric(instance, "im_http_slow_total")
    target = ("127.0.0.1", instance.deployment.config.http_port)
    slow = [socket.create_connection(target, timeout=15) for _ in range(50)]
    for connection in slow:
        connection.sendall(b"GET " + list_of("alice").encode() + b" HTTP/1.1\r\nHost:")
    owner = new_user()
    async with instance.client(owner) as client:
        assert await client.documents.deferred_entries() == []
        assert (await client.deferred_list()).count() == Counts(0, 0, 0, 0)
    started = time.monotonic()
    for connection in slow:
        assert ended(connection)
    assert time.monotonic() - started < 15
    wait_until(lambda: metric(instance, "im_http_slow_total") >= before + 50, "all are counted")
    assert "SEC-02 connection of 127.0.0.1 cut: no whole request in time" in instance.worker_log()


def ended(connection: socket.socket) -> bool:
    """Whether the other side closes, without a word."""
    with connection:
        try:
            return connection.recv(1) == b""
        except ConnectionError:
            return True


@pytest.mark.requirement("XDM-06", "SEC-02")
async def test_a_password_is_not_guessed(instance: Instance, new_user: Callable[..., str]) -> None:
    victim = new_user()
    answers = [ask(instance, "GET", list_of(victim), victim, password="wrong", source="127.0.0.7") for _ in range(12)]
    assert [answer.status for answer in answers] == [401] * 10 + [429] * 2
    assert int(answers[-1].header("Retry-After")[0]) > 0
    assert ask(instance, "GET", list_of(victim), victim, source="127.0.0.7").status == 429
    assert ask(instance, "GET", list_of(victim), victim).status == 200  # elsewhere the user comes in
