"""Documents over HTTP: written and read by the client, refused to others, and safe from hostile requests."""

from __future__ import annotations

import asyncio
import gzip
import logging

import pytest

from im_client.digest import Challenge, credentials
from im_client.errors import XcapError
from msrp_worker.store.database import Statement
from msrp_worker.xcap.usage import Document, Place
from tests.credentials import authorization
from tests.msrp_worker.xcap.conftest import Opener, Site

DOCUMENT = b'<notes xmlns="urn:notes">\n <note id="1">tea</note>\n</notes>'
NOTES, ELEMENT, ATTRIBUTE = "application/notes+xml", "application/xcap-el+xml", "application/xcap-att+xml"
PLACE = Place("sip:alice@example.com", ("index",))
BOMB = gzip.compress(bytes(10_000_000))
PATH = "/xcap/notes/users/sip:alice@example.com/index"


async def raw(site: Site, data: bytes, *, eof: bool = False) -> bytes:
    """All bytes of the answer, up to its end or that of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(data)
    if eof:
        writer.write_eof()
    try:
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            return head + await reader.readexactly(int(length[0]) if length else 0)
    finally:
        writer.close()


async def authorized(site: Site, method: str, target: str, *headers: str, body: bytes = b"", user: str = "alice") -> bytes:
    """The answer to a request that is written here, with right credentials."""
    first = (await raw(site, b"GET /xcap/x/users/y/z HTTP/1.1\r\nHost: x\r\n\r\n")).decode()
    challenge = next(line for line in first.split("\r\n") if line.startswith("WWW-Authenticate") and "MD5" in line)
    line = authorization(challenge, method, target, user)
    head = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", line, *headers, ""])
    return await raw(site, head.encode("utf-8", "surrogateescape") + b"\r\n" + body)


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


@pytest.mark.requirement("XDM-01", "XDM-06")
async def test_a_document_lives(site: Site) -> None:
    """Created, read whole and in parts, changed, guarded by its etag, deleted."""
    async with site.client() as client:
        path = client.path("notes", "index")
        made = await client.put(path, DOCUMENT, NOTES)
        assert (made.status, made.etag) == (201, "n1")
        found = await client.get(path)
        assert (found.body, found.content_type, found.etag) == (DOCUMENT, NOTES, "n1")
        assert (await client.get(path, if_none_match="n1")).status == 304
        note = client.path("notes", "index", 'notes/note[@id="2"]')
        made = await client.put(note, b'<note id="2"/>', ELEMENT, if_match="n1")
        assert (made.status, made.etag) == (201, "n2")
        assert (await client.put(note, b'<note id="2">x</note>', ELEMENT)).status == 200
        assert (await client.get(note)).body == b'<note id="2">x</note>'
        attribute = client.path("notes", "index", 'notes/note[@id="2"]/@of')
        assert (await client.put(attribute, b'"bob"', ATTRIBUTE)).status == 201
        found = await client.get(attribute)
        assert (found.body, found.content_type) == (b'"bob"', ATTRIBUTE)
        with pytest.raises(XcapError) as refused:
            await client.delete(note, if_match="n1")
        assert refused.value.status == 412
        gone = await client.delete(note)
        assert (gone.status, gone.etag) == (200, "n5")
        gone = await client.delete(path)
        assert (gone.status, gone.etag) == (200, "")
        for method in (client.get, client.delete):
            with pytest.raises(XcapError) as refused:
                await method(path)
            assert refused.value.status == 404


@pytest.mark.requirement("XDM-01")
@pytest.mark.parametrize(
    ("node", "body", "content_type", "expected"),
    [
        ("", DOCUMENT, "application/xml", (415, "")),
        ("notes/note", b"<note/>", NOTES, (415, "")),
        ("notes/note/@id", b'"1"', ELEMENT, (415, "")),
        ("", b"<notes>", NOTES, (409, "not-well-formed")),
        ("", b"<x/>", NOTES + "; charset=UTF-8", (409, "schema-validation-error")),
        ("", b'<?xml version="1.0" encoding="ISO-8859-1"?><notes/>', NOTES, (409, "not-utf-8")),
        ("notes/other/x", b"<x/>", ELEMENT, (409, "no-parent")),
        ("notes/note", b"<note/><note/>", ELEMENT, (409, "not-xml-frag")),
        ('notes/note[@id="9"]', b'<note id="8"/>', ELEMENT, (409, "cannot-insert")),
        ("notes/note/@id", b'"<"', ATTRIBUTE, (409, "not-xml-att-value")),
        ("notes", b'<notes xmlns="urn:notes"><a/><a/><a/><a/></notes>', ELEMENT, (409, "constraint-failure")),
        ("notes/namespace::*", b"", ELEMENT, (405, "")),
        ("notes/x:note", b"<note/>", ELEMENT, (400, "")),
        ("notes/note[last()]", b"<note/>", ELEMENT, (404, "")),  # section 8: an extension that is not understood
    ],
)
async def test_what_cannot_be_put(site: Site, node: str, body: bytes, content_type: str, expected: tuple[int, str]) -> None:
    site.notes.kept[PLACE] = Document(DOCUMENT, "e")
    async with site.client() as client:
        with pytest.raises(XcapError) as refused:
            await client.put(client.path("notes", "index", node), body, content_type)
    assert (refused.value.status, refused.value.condition) == expected
    assert site.notes.kept[PLACE].body == DOCUMENT


@pytest.mark.requirement("XDM-01")
async def test_an_element_of_no_document_has_no_parent(site: Site) -> None:
    async with site.client() as client:
        with pytest.raises(XcapError) as refused:
            await client.put(client.path("notes", "index", "notes/note"), b"<note/>", ELEMENT)
        assert (refused.value.status, refused.value.condition) == (409, "no-parent")


@pytest.mark.requirement("XDM-01")
async def test_a_change_is_worked_out_again_when_somebody_was_faster(site: Site) -> None:
    site.notes.kept[PLACE] = Document(DOCUMENT, "e")
    site.notes.meddle = [DOCUMENT.replace(b"tea", b"coffee")]
    async with site.client() as client:
        note = client.path("notes", "index", 'notes/note[@id="2"]')
        assert (await client.put(note, b'<note id="2"/>', ELEMENT)).status == 201
        assert site.notes.kept[PLACE].body.endswith(b'<note id="1">coffee</note><note id="2"/>\n</notes>')
        site.notes.meddle = [DOCUMENT] * 100
        with pytest.raises(XcapError) as refused:
            await client.put(note, b'<note id="2"/>', ELEMENT)
        assert refused.value.status == 503


@pytest.mark.requirement("XDM-01")
async def test_capabilities_are_for_everybody_who_is_somebody(site: Site) -> None:
    async with site.client("bob") as client:
        found = await client.get("/xcap-caps/global/index")
        assert found.content_type == "application/xcap-caps+xml"
        assert b"<auid>notes</auid>" in found.body and b"<namespace>urn:notes</namespace>" in found.body
        for method, path, expected in (
            ("PUT", "/xcap-caps/global/index", 405),
            ("DELETE", "/xcap-caps/global/index", 405),
            ("GET", "/xcap-caps/global/other", 404),
            ("GET", "/xcap-caps/users/sip:bob@example.com/index", 404),
            ("GET", "/notes/global/index", 404),
        ):
            assert (await client.request(method, path)).status == expected, (method, path)
    assert status(await raw(site, b"GET /xcap/xcap-caps/global/index HTTP/1.1\r\nHost: x\r\n\r\n")) == 401


@pytest.mark.requirement("XDM-06")
async def test_only_the_owner_comes_in(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing tells whether a user or a document is there."""
    caplog.set_level(logging.INFO, "im.xcap")
    site.notes.kept[PLACE] = Document(DOCUMENT, "e")
    for user in ("alice", "nobody"):
        for path in (f"/notes/users/sip:{user}@example.com/index", f"/unknown/users/sip:{user}@example.com/index"):
            async with site.client("bob") as client:
                for method in ("GET", "PUT", "DELETE", "POST"):
                    assert (await client.request(method, path, body=b"x")).status == 403
            for stranger in (site.client(password="wrong"), site.client("nobody"), site.client("alice@example.com", "x")):
                async with stranger as client:
                    assert (await client.request("GET", path)).status == 401
    refusals = [record.getMessage() for record in caplog.records]
    assert (
        "XDM-06 refused 403 GET notes from 127.0.0.1 originator=sip:bob@example.com: somebody else's document" in refusals
    )
    assert "XDM-06 refused 401 GET notes from 127.0.0.1 originator=alice: wrong name or password" in refusals
    assert site.notes.kept[PLACE].body == DOCUMENT


@pytest.mark.requirement("XDM-06")
@pytest.mark.parametrize("username", ["alice", "alice@example.com"])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_both_algorithms_and_both_forms_of_a_name(site: Site, username: str, algorithm: str) -> None:
    site.notes.kept[PLACE] = Document(DOCUMENT, "e")
    first = (await raw(site, f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())).decode()
    lines = [line for line in first.split("\r\n") if line.startswith("WWW-Authenticate: Digest ")]
    assert [("SHA-256" in line, "MD5" in line) for line in lines] == [(True, False), (False, True)]
    nonce = lines[0].partition('nonce="')[2].partition('"')[0]
    challenge = Challenge("example.com", nonce, algorithm)
    value = credentials(challenge, username, "alice-secret", "GET", PATH, 1, "c")
    assert status(await raw(site, f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {value}\r\n\r\n".encode())) == 200


@pytest.mark.requirement("XDM-06")
async def test_who_set_a_password_before_sha_256_was_kept_uses_md5(site: Site) -> None:
    """Nobody is offered SHA-256 then: an offer that differs would tell who is a user."""
    await site.store.database.write(
        Statement("UPDATE subscriber SET ha1_sha256 = '', ha1b_sha256 = '' WHERE username = 'bob'")
    )
    for user in ("alice", "bob", "nobody"):
        request = f"GET /xcap/notes/users/sip:{user}@example.com/index HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await raw(site, request.encode())).count(b"WWW-Authenticate") == 1
    async with site.client("bob") as client:
        assert (await client.request("GET", client.path("notes", "index"))).status == 404


@pytest.mark.requirement("XDM-06")
async def test_an_old_nonce_is_stale_and_a_foreign_one_too(site: Site) -> None:
    site.notes.kept[PLACE] = Document(DOCUMENT, "e")
    async with site.client() as client:
        path = client.path("notes", "index")
        assert (await client.get(path)).status == 200
        site.clock.now += 3600
        assert (await client.get(path)).status == 200  # asked again by itself
    value = credentials(Challenge("example.com", "made-up"), "alice", "alice-secret", "GET", PATH, 1, "c")
    answer = await raw(site, f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {value}\r\n\r\n".encode())
    assert status(answer) == 401 and b"stale=true" in answer
    value = credentials(Challenge("example.com", "made-up"), "alice", "wrong", "GET", PATH, 1, "c")
    answer = await raw(site, f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {value}\r\n\r\n".encode())
    assert status(answer) == 401 and b"stale" not in answer


@pytest.mark.requirement("XDM-06", "SEC-01")
@pytest.mark.parametrize(
    ("proxies", "header", "expected"),
    [
        ("127.0.0.1", 'X-3GPP-Asserted-Identity: "sip:alice@example.com"', 200),
        ("127.0.0.0/8", 'X-XCAP-Asserted-Identity: "tel:+1555", "sip:alice@EXAMPLE.com"', 200),
        ("127.0.0.1", 'X-3GPP-Asserted-Identity: "sip:bob@example.com"', 403),
        ("127.0.0.1", "X-3GPP-Asserted-Identity: nonsense", 401),
        ("127.0.0.1", "X-Other: x", 401),
        ("127.0.0.2", 'X-3GPP-Asserted-Identity: "sip:alice@example.com"', 401),
        ("", 'X-3GPP-Asserted-Identity: "sip:alice@example.com"', 401),
    ],
)
async def test_an_aggregation_proxy_is_believed_from_its_address(
    opened: Opener, proxies: str, header: str, expected: int
) -> None:
    site = await opened(IM_XCAP_TRUSTED_PROXIES=proxies)
    site.notes.kept[PLACE] = Document(DOCUMENT, "e")
    assert status(await raw(site, f"GET {PATH} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())) == expected


@pytest.mark.requirement("XDM-06")
async def test_an_asserted_user_that_is_none_of_ours_has_no_documents(opened: Opener) -> None:
    site = await opened(IM_XCAP_TRUSTED_PROXIES="127.0.0.1")
    lines = "Host: x", 'X-3GPP-Asserted-Identity: "sip:zoe@example.com"', "", ""
    request = "\r\n".join(("GET /xcap/notes/users/sip:zoe@example.com/index HTTP/1.1", *lines))
    assert status(await raw(site, request.encode())) == 404


@pytest.mark.requirement("SEC-02", "XDM-06")
async def test_guessing_passwords_is_slow(site: Site) -> None:
    async with site.client(password="wrong") as client:
        path = client.path("notes", "index")
        answers = [await client.request("GET", path) for _ in range(8)]  # two attempts each but for the first
        assert [answer.status for answer in answers[:4]] == [401] * 4 and answers[-1].status == 429
    async with site.client() as client:
        assert (await client.request("GET", path)).status == 429
        site.clock.now += 61
        assert (await client.request("GET", path)).status == 404
    async with site.client("bob") as client:
        assert (await client.request("GET", client.path("notes", "index"))).status == 404


@pytest.mark.requirement("SEC-02")
async def test_one_user_may_not_take_it_all(opened: Opener) -> None:
    site = await opened(IM_XCAP_USER_RATE="3")
    async with site.client() as client, site.client("bob") as other:
        path = client.path("notes", "index")
        assert [(await client.request("GET", path)).status for _ in range(5)] == [404, 404, 404, 429, 429]
        assert (await other.request("GET", other.path("notes", "index"))).status == 404
        site.clock.now += 10
        assert (await client.request("GET", path)).status == 404
    assert {reading.label[1]: reading.value for reading in site.server.readings()}["429"] == 2


@pytest.mark.requirement("SEC-02", "SEC-05", "XDM-01")
async def test_a_huge_body_is_refused_before_it_is_read(opened: Opener) -> None:
    site = await opened(IM_XCAP_MAX_SIZE="2048", IM_HTTP_SECONDS="1")
    for headers, body in (
        (("Content-Length: 10000000000",), b""),
        (("Transfer-Encoding: chunked",), b"1000\r\n" + b"x" * 4096 + b"\r\n0\r\n\r\n"),
    ):
        answer = await authorized(site, "PUT", PATH, f"Content-Type: {NOTES}", *headers, body=body)
        assert status(answer) == 413 and b"connection: close" in answer.lower()
    answer = await authorized(site, "PUT", PATH, f"Content-Type: {NOTES}", "Content-Length: 100", body=b"<notes")
    assert status(answer) == 408
    assert not site.notes.kept


@pytest.mark.requirement("SEC-05", "XDM-01")
@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        (("Transfer-Encoding: chunked",), b"zz\r\nx\r\n0\r\n\r\n", 400),
        (("Content-Encoding: gzip", "Content-Length: 4"), b"\x1f\x8bxx", 400),
        (("Content-Encoding: gzip", f"Content-Length: {len(BOMB)}"), BOMB, 413),
        (("Content-Encoding: unheard-of", "Content-Length: 4"), b"<a/>", 409),
    ],
)
async def test_bodies_that_cannot_be_read(
    site: Site, caplog: pytest.LogCaptureFixture, headers: tuple[str, ...], body: bytes, expected: int
) -> None:
    answer = await authorized(site, "PUT", PATH, f"Content-Type: {NOTES}", *headers, body=body)
    assert status(answer) == expected
    assert not site.notes.kept
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.requirement("SEC-05", "XDM-01")
async def test_a_client_that_goes_in_the_middle_of_a_body(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    first = (await raw(site, b"GET /xcap/x/users/y/z HTTP/1.1\r\nHost: x\r\n\r\n")).decode()
    line = authorization(first[first.rindex("Digest realm") :], "PUT", PATH, "alice")
    _, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(
        f"PUT {PATH} HTTP/1.1\r\nHost: x\r\n{line}\r\nContent-Type: {NOTES}\r\nContent-Length: 99\r\n\r\n<n".encode()
    )
    await writer.drain()
    writer.transport.abort()
    async with asyncio.timeout(10):
        while "400" not in {reading.label[1] for reading in site.server.readings()}:
            await asyncio.sleep(0.02)
    assert not site.notes.kept
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.requirement("SEC-05", "XDM-01")
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (f"{PATH}/~~/notes/note%5b1%5d%5b", 404),
        (f"{PATH}/~~/notes/p:note", 400),
        (f"{PATH}/~~/notes/p:note?xmlns(p", 400),
        (f"{PATH}/~~/", 400),
        (f"{PATH}/~~/notes/%zz", 400),
        (f"{PATH}/~~/notes/%ff", 400),
        (f"{PATH}/~~/" + "/".join(["*"] * 100), 404),
        (f"{PATH}/../../../../etc/passwd", 404),
        ("/xcap/../metrics", 404),
        ("/xcap//users/x/y", 404),
        ("/xcap/notes/users/sip:alice@example.com", 404),
        ("/xcap/notes/users/sip:alice@example.com/", 404),
        ("/xcap/notes/users/%00/index", 403),
    ],
)
async def test_strange_uris(site: Site, target: str, expected: int) -> None:
    site.notes.kept[PLACE] = Document(DOCUMENT, "e")
    assert status(await authorized(site, "GET", target)) == expected


@pytest.mark.requirement("SEC-02", "SEC-05")
async def test_slow_clients_are_cut(site: Site) -> None:
    """Half a request line, half a head, nothing at all; who has sent a request may keep the connection."""
    for start in (b"", b"GET /xc", b"GET /xcap/a HTTP/1.1\r\nHost: x\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(start)
        async with asyncio.timeout(10):
            assert await cut(reader)
        writer.close()
    assert site.guard.cut == 3
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    for _ in range(2):
        writer.write(b"GET /xcap/a/users/b/c HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"401" in await reader.readline()
        while await reader.readline() != b"\r\n":
            pass
        await reader.readexactly(len(b"401 Unauthorized\n"))
    writer.write(b"GET")
    assert await cut(reader)
    assert site.guard.cut == 4


@pytest.mark.requirement("SEC-02")
async def test_one_address_may_not_take_all_connections(site: Site) -> None:
    opened = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(11)]
    async with asyncio.timeout(10):
        assert await cut(opened[-1][0])
    assert site.guard.over_limit == 1
    for _, writer in opened:
        writer.close()


@pytest.mark.requirement("SEC-02")
async def test_who_takes_nothing_of_an_answer_is_cut(site: Site) -> None:
    site.notes.kept[PLACE] = Document(b"x" * 30_000_000, "e")
    challenged = (await raw(site, b"GET /xcap/a/users/b/c HTTP/1.1\r\nHost: x\r\n\r\n")).decode()
    line = authorization(challenged[challenged.rindex("Digest realm") :], "GET", PATH, "alice")
    _, writer = await asyncio.open_connection("127.0.0.1", site.port, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(f"GET {PATH} HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode())
    async with asyncio.timeout(10):
        while not site.guard.cut:
            await asyncio.sleep(0.02)
    writer.close()


async def cut(reader: asyncio.StreamReader) -> bool:
    """Whether the connection ends without a response."""
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


@pytest.mark.requirement("XDM-01", "SEC-06")
async def test_without_its_store_it_says_when_to_come_back(site: Site) -> None:
    async with site.client() as client:
        path = client.path("notes", "index")
        assert (await client.request("GET", path)).status == 404
        await site.store.database.close()
        assert (await client.request("GET", path)).status == 503
    answer = await authorized(site, "GET", PATH)
    assert status(answer) == 503 and b"Retry-After: 5" in answer
