"""Documents of the user: what the client makes of answers, good and bad."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from im_client.config import ClientConfig
from im_client.errors import ConnectionFailedError, MalformedMessageError, XcapError
from im_client.transport import Target
from im_client.xcap import DeferredEntry, XcapClient, read_deferred_list

CHALLENGE = 'Digest realm="r", qop="auth", nonce="n{}", algorithm=SHA-256'
Handler = Callable[[web.Request], Awaitable[web.Response]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[XcapClient]]]:
    """`await serve(handler)`: a client of a server that answers with it."""
    runners: list[web.AppRunner] = []
    clients: list[XcapClient] = []

    async def one(handler: Handler) -> XcapClient:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        clients.append(XcapClient(f"http://127.0.0.1:{runner.addresses[0][1]}/xcap/", "sip:a@b", "a", "pw"))
        return clients[-1]

    yield one
    for client in clients:
        await client.close()
    for runner in runners:
        await runner.cleanup()


@pytest.mark.requirement("CLI-06")
async def test_a_challenge_is_answered_once_and_its_nonce_used_again(serve) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        if not seen[-1] or "wrong" in request.path:
            return web.Response(status=401, headers={"WWW-Authenticate": CHALLENGE.format(len(seen))})
        return web.Response(body=b"x", headers={"ETag": '"e"', "Content-Type": "a/b"})

    client = await serve(handler)
    for _ in range(2):
        answer = await client.get("/u/users/sip:a@b/i")
        assert (answer.status, answer.body, answer.etag, answer.content_type) == (200, b"x", "e", "a/b")
    assert len(seen) == 3 and "nc=00000001" in seen[1] and "nc=00000002" in seen[2]
    assert 'uri="/xcap/u/users/sip:a@b/i"' in seen[1] and "algorithm=SHA-256" in seen[1]
    with pytest.raises(XcapError) as refused:
        await client.get("/wrong")
    assert refused.value.status == 401 and len(seen) == 5


@pytest.mark.requirement("CLI-06")
@pytest.mark.parametrize(
    ("body", "content_type", "condition", "phrase"),
    [
        (
            b'<xcap-error xmlns="urn:ietf:params:xml:ns:xcap-error"><cannot-delete phrase="no"/></xcap-error>',
            "xcap-error",
            "cannot-delete",
            "no",
        ),
        (b"<xcap-error/>", "xcap-error", "", ""),
        (b"<xcap-error>", "xcap-error", "", ""),
        (b"text", "plain", "", ""),
    ],
)
async def test_what_a_conflict_says(serve, body: bytes, content_type: str, condition: str, phrase: str) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=409, body=body, headers={"Content-Type": f"application/{content_type}+xml"})

    client = await serve(handler)
    with pytest.raises(XcapError) as refused:
        await client.delete_all_deferred()
    assert (refused.value.status, refused.value.condition, refused.value.phrase) == (409, condition, phrase)


@pytest.mark.requirement("CLI-06")
@pytest.mark.parametrize("message_id", ['1"', "1/2", "<1>", "&1;"])
async def test_an_identifier_that_none_can_be_is_not_asked_for(serve, message_id: str) -> None:
    async def handler(_: web.Request) -> web.Response:
        raise AssertionError("not asked for")

    client = await serve(handler)
    with pytest.raises(XcapError) as refused:
        await client.delete_deferred(message_id)
    assert refused.value.status == 404


async def test_a_server_that_is_not_there() -> None:
    async with XcapClient("http://127.0.0.1:1/xcap", "sip:a@b", "a", "pw") as client:
        with pytest.raises(ConnectionFailedError):
            await client.deferred_entries()


@pytest.mark.requirement("CLI-06")
def test_a_list_is_read() -> None:
    document = b"""<h:history-list xmlns:h="urn:oma:xml:im:history-list"><h:history date="d" history-reference="sip:1@b">
        <h:size> 7 </h:size><h:subject>tea</h:subject><h:pager><h:from>sip:c@b</h:from></h:pager></h:history>
        <h:history history-reference="2@b"><h:size>many</h:size><h:conference/></h:history><other/></h:history-list>"""
    assert read_deferred_list(document) == [
        DeferredEntry("1@b", "d", "", 7, "sip:c@b", "tea"),
        DeferredEntry("2@b", "", "", 0, ""),
    ]
    for wrong in (b"", b"<history-list/>", b"<a>", b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>'):
        with pytest.raises(MalformedMessageError):
            read_deferred_list(wrong)


@pytest.mark.parametrize(
    ("proxy", "xcap", "expected"),
    [
        (Target("127.0.0.1", 5060), "", "http://127.0.0.1:8080/xcap"),
        (Target("127.0.0.1", 15060, "tcp"), "", "http://127.0.0.1:18080/xcap"),
        (Target("im.example.com", 5061, "tls"), "", "http://im.example.com:8080/xcap"),
        (Target("::1", 5060), "", "http://[::1]:8080/xcap"),
        (Target("127.0.0.1", 5060), "https://xcap.example.com/root", "https://xcap.example.com/root"),
    ],
)
def test_where_the_documents_are(proxy: Target, xcap: str, expected: str) -> None:
    config = ClientConfig(identity="sip:a@b", proxy=proxy, xcap=xcap)
    assert config.xcap_root == expected
    assert (config.https_context() is not None) is expected.startswith("https")
