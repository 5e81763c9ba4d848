"""XCAP over HTTP: who asks is found out, the request is answered, what was refused is logged (XDM-01, XDM-06)."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from msrp_worker import PRODUCT
from msrp_worker.address import canonical
from msrp_worker.config import Config
from msrp_worker.msrp.logs import limited_logger
from msrp_worker.store.errors import StoreError
from msrp_worker.store.store import Store
from msrp_worker.web import Reading
from msrp_worker.xcap import access, digest, server
from msrp_worker.xcap.caps import Capabilities
from msrp_worker.xcap.rate import Rate
from msrp_worker.xcap.selector import UriError, XcapUri, split
from msrp_worker.xcap.server import Request, Response
from msrp_worker.xcap.usage import Place, Usage

log = limited_logger("im.xcap")

ROOT: Final = "/xcap/"
RATE_SECONDS: Final = 10.0
"""What IM_XCAP_USER_RATE counts requests in."""
FAILURE_SECONDS: Final = 60.0
FAILURES_OF_NAME: Final = 10
"""Wrong passwords for one name from one address in that time; then it is not even tried."""
FAILURES_OF_ADDRESS: Final = 100
"""Of one address, whatever the names; many users may share one."""
SHA_256_SECONDS: Final = 10.0
"""How long it is remembered whether everybody has a secret for SHA-256."""
RETRY_AFTER: Final = 5
"""Seconds, while the store is away."""
SHOWN: Final = 64
"""Characters of a name that a stranger gives which go into the log."""

REQUIREMENTS: Final = {401: "XDM-06", 403: "XDM-06", 408: "SEC-02", 413: "SEC-02", 429: "SEC-02"}
"""What a refusal is shown under in the log; XDM-01 for the others."""

Headers = tuple[tuple[str, str], ...]


class Refused(Exception):  # noqa: N818 - named after what happened
    """The request ends here."""

    def __init__(self, status: int, why: str, headers: Headers = (), originator: str = "-") -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.headers = headers
        self.originator = originator


class Caller(msgspec.Struct, frozen=True):
    """Who asks: its canonical addresses, the first one for the log."""

    addresses: tuple[str, ...]


class XcapServer:
    """All application usages at `/xcap/`. They are added before `open`; until then requests get 503."""

    def __init__(self, store: Store, config: Config, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._usages: dict[str, Usage] = {}
        self._open = False
        self._proxies = tuple(ipaddress.ip_network(text) for text in config.xcap_trusted_proxies)
        self._requests = Rate(config.xcap_user_rate, RATE_SECONDS)
        self._failures_of_name = Rate(FAILURES_OF_NAME, FAILURE_SECONDS)
        self._failures_of_address = Rate(FAILURES_OF_ADDRESS, FAILURE_SECONDS)
        self._sha256 = (False, 0.0)
        self._answered: Counter[int] = Counter()

    def add(self, usage: Usage) -> None:
        """One more kind of document."""
        self._usages[usage.auid] = usage

    def open(self) -> None:
        """All kinds of documents are known: tell of them, and serve."""
        self.add(Capabilities(list(self._usages.values())))
        self._open = True

    def mount(self, app: web.Application) -> None:
        """Take the XCAP root of an application."""
        app.router.add_route("*", ROOT + "{rest:.*}", self.handle)

    def readings(self) -> Iterator[Reading]:
        """For /metrics."""
        for status in sorted(self._answered):
            yield Reading(
                "xcap_requests_total", "XCAP requests, by status", self._answered[status], ("status", str(status))
            )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        originator = "-"
        headers: Headers = ()
        try:
            caller = await self._caller(request)
            originator = caller.addresses[0]
            answer = await self._serve(request, caller)
        except Refused as refused:
            answer, headers = Response(refused.status, why=refused.why), refused.headers
            originator = refused.originator if originator == "-" else originator
        except UriError as error:
            answer = Response(error.status, why=str(error))
        except StoreError as error:
            log.error("a document cannot be read or changed: %s", error)
            answer, headers = Response(503, why="the store is away"), (("Retry-After", str(RETRY_AFTER)),)
        self._answered[answer.status] += 1
        if answer.why:
            self._note(request, answer, originator)
        return _http(request, answer, headers)

    # --- who

    async def _caller(self, request: web.Request) -> Caller:
        """Who asks; Refused 401 or 429."""
        if not self._open:
            raise Refused(503, "starting", (("Retry-After", "1"),))
        source = request.remote or ""
        trusted = self._is_proxy(source)
        if trusted:
            values = [value for name in access.ASSERTED for value in request.headers.getall(name, ())]
            addresses = access.asserted(values)
            if addresses:
                return Caller(addresses)  # XDM-06
        header = request.headers.get("Authorization")
        given = None if header is None else digest.parse(header)
        if given is None:
            why = "" if header is None else "credentials of another kind"
            raise await self._challenge(why)
        return await self._authenticated(request, given, "" if trusted else source)

    async def _authenticated(self, request: web.Request, given: digest.Credentials, source: str) -> Caller:
        """The user whose password was used. `source` is empty where many users come from it."""
        now = self._clock()
        originator = "".join(c if c.isprintable() and c != " " else "?" for c in given.username[:SHOWN])
        account = access.account_of(given.username, self._config.domain)
        keys = ((self._failures_of_name, f"{source} {given.username[:SHOWN]}"), (self._failures_of_address, source))
        wait = max(rate.spent(key, now) for rate, key in keys if key)
        if wait:
            raise Refused(429, "too many wrong passwords", (("Retry-After", str(int(wait) + 1)),), originator)  # SEC-02
        secret = ""
        if account is not None and given.realm == self._config.domain:
            found = await self._store.credentials.secrets(account[0], self._config.domain, with_domain=account[1])
            secret = found.sha256 if given.algorithm == digest.SHA_256 else found.md5
        if account is None or not digest.is_right(given, secret, request.method, request.raw_path):
            for rate, key in keys:
                if key:
                    rate.count(key, now)
            raise await self._challenge("wrong name or password", originator=originator)
        if not digest.is_fresh(self._key, given.nonce, now):
            raise await self._challenge("", stale=True)
        return Caller((canonical(f"sip:{account[0]}@{self._config.domain}"),))

    async def _challenge(self, why: str, *, stale: bool = False, originator: str = "-") -> Refused:
        now = self._clock()
        if now >= self._sha256[1]:
            self._sha256 = (await self._store.credentials.all_with_sha256(), now + SHA_256_SECONDS)
        nonce = digest.new_nonce(self._key, now, secrets.token_bytes(8))
        values = digest.challenges(self._config.domain, nonce, sha256=self._sha256[0], stale=stale)
        return Refused(401, why, tuple(("WWW-Authenticate", value) for value in values), originator)

    def _is_proxy(self, source: str) -> bool:
        try:
            address = ipaddress.ip_address(source.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._proxies)

    # --- what

    async def _serve(self, request: web.Request, caller: Caller) -> Response:
        now = self._clock()
        if not self._requests.count(caller.addresses[0], now):
            wait = int(self._requests.spent(caller.addresses[0], now)) + 1
            raise Refused(429, "too many requests", (("Retry-After", str(wait)),))  # SEC-02
        uri = split(_path(request.raw_path), ROOT)
        usage, place = await self._place(uri, caller)
        read = request.method == "PUT" and request.method in usage.methods
        asked = Request(
            request.method,
            content_type=request.headers.get("Content-Type", ""),
            if_match=_joined(request, "If-Match"),
            if_none_match=_joined(request, "If-None-Match"),
            body=await self._body(request) if read else b"",
        )
        return await server.serve(usage, place, uri, asked)

    async def _place(self, uri: XcapUri, caller: Caller) -> tuple[Usage, Place]:
        """The document, where the caller may have it (RFC 4825 section 5.7)."""
        usage = self._usages.get(uri.auid)
        if uri.user is None:
            if usage is None or not usage.is_global:
                raise Refused(404, "no such global document")
            return usage, Place(None, uri.document)
        owner = access.owner(uri.user, self._config.domain)
        if owner is None or owner not in caller.addresses:
            raise Refused(403, "somebody else's document")  # XDM-06
        if usage is None or usage.is_global or await self._store.users.facts(owner) is None:
            raise Refused(404, "no such document")
        return usage, Place(owner, uri.document)

    async def _body(self, request: web.Request) -> bytes:
        """The body of a request, bounded in size and time (SEC-02)."""
        most = self._config.xcap_max_size
        if (request.content_length or 0) > most:
            raise Refused(413, f"more than {most} bytes", (("Connection", "close"),))
        body = bytearray()
        try:
            async with asyncio.timeout(self._config.http_seconds):
                while data := await request.content.readany():
                    body += data
                    if len(body) > most:
                        raise Refused(413, f"more than {most} bytes", (("Connection", "close"),))
        except TimeoutError:
            raise Refused(408, "the body did not come in time", (("Connection", "close"),)) from None
        except (web.RequestPayloadError, web.HTTPException, HttpProcessingError, ClientError, OSError):
            raise Refused(400, "the body cannot be read", (("Connection", "close"),)) from None
        return bytes(body)

    def _note(self, request: web.Request, answer: Response, originator: str) -> None:
        """One line for each refusal; what a stranger writes stays on it."""
        requirement = REQUIREMENTS.get(answer.status, "XDM-01")
        kind = _path(request.raw_path).removeprefix(ROOT).partition("/")[0]
        shown = re.sub(r"[^A-Za-z0-9._-]", "?", kind[:SHOWN])
        why = " ".join(answer.why.split())
        form = (
            f"{requirement} refused {answer.status} %s %s from %s originator=%s: %s"  # each status has its share of the log
        )
        log.info(form, request.method[:SHOWN], shown, request.remote, originator, why)


def _path(target: str) -> str:
    """The request-target without scheme and authority."""
    return re.sub(r"\Ahttps?://[^/?]*", "", target, flags=re.IGNORECASE)


def _joined(request: web.Request, name: str) -> str | None:
    values = request.headers.getall(name, ())
    return ", ".join(values) if values else None


def _http(request: web.Request, answer: Response, headers: Headers) -> web.Response:
    body, content_type = answer.body, answer.content_type
    if answer.status >= 400 and not body:
        body, content_type = f"{answer.status} {HTTPStatus(answer.status).phrase}\n".encode(), "text/plain"
    response = web.Response(status=answer.status, body=body or None)
    if content_type:
        response.headers["Content-Type"] = content_type
    response.headers["Server"] = PRODUCT
    response.headers["Cache-Control"] = "private, no-cache"  # RFC 4825 section 9
    if answer.etag is not None:
        response.headers["ETag"] = f'"{answer.etag}"'
    if answer.allow:
        response.headers["Allow"] = ", ".join(answer.allow)
    for name, value in headers:
        response.headers.add(name, value)
    if ("Connection", "close") in headers:
        response.force_close()
    return response
