"""Documents of the user on the server, over HTTP with digest (RFC 4825). CLI-06

`XcapClient.request` sends one request to a path under the XCAP root and answers the server's challenge; what is deferred is
listed and deleted with `deferred_entries` and `delete_deferred`.
"""

from __future__ import annotations

import secrets
import ssl
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

import aiohttp
from lxml import etree
from sipmessage import Headers
from yarl import URL

from . import PRODUCT
from .digest import Challenge, credentials, parse_challenges
from .errors import ConnectionFailedError, MalformedMessageError, NoAnswerError, XcapError

SECONDS = 30.0
"""For one answer."""
MAX_BYTES = 67_108_864
"""Largest document read, in bytes; a list of 20,000 messages has 12 MiB."""
DEFERRED_LIST = "org.openmobilealliance.deferred-list"
_IN_SEGMENT = "!$&'()*+,;=:@"
_HISTORY = "{urn:oma:xml:im:history-list}"


@dataclass(frozen=True, slots=True)
class XcapAnswer:
    """The answer to one request. `etag` is without quotes, empty where there is none."""

    status: int
    reason: str
    body: bytes
    content_type: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class DeferredEntry:
    """One message that waits, as the document tells it. Times are as they stand there, `xs:dateTime`."""

    message_id: str
    received: str
    expires: str
    size: int
    sender: str
    subject: str = ""


class XcapClient:
    """The documents of one user. Use as `async with`, or `close` it in the end."""

    def __init__(self, root: str, identity: str, username: str, password: str, tls: ssl.SSLContext | None = None) -> None:
        """`root` is the XCAP root URI, `identity` the user's IM address, which names the tree of its documents."""
        self.root = root.rstrip("/")
        self.identity = identity
        self._username = username
        self._password = password
        self._tls = tls
        self._http: aiohttp.ClientSession | None = None
        self._challenge: Challenge | None = None
        self._uses = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    def path(self, auid: str, document: str, node: str = "") -> str:
        """The path of a document of this user below the root; `node` is a node selector, not encoded."""
        user = quote(self.identity, safe=_IN_SEGMENT)
        steps = "".join("/" + quote(step, safe=_IN_SEGMENT) for step in ("~~", *node.split("/"))) if node else ""
        return f"/{auid}/users/{user}/{quote(document, safe=_IN_SEGMENT)}{steps}"

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        content_type: str = "",
        if_match: str = "",
        if_none_match: str = "",
    ) -> XcapAnswer:
        """One request, whatever its answer. Raises NoAnswerError, ConnectionFailedError."""
        headers = {"User-Agent": PRODUCT}
        for name, value in (("If-Match", if_match), ("If-None-Match", if_none_match)):
            if value:
                headers[name] = value if value == "*" else f'"{value}"'
        if content_type:
            headers["Content-Type"] = content_type
        answer, challenges = await self._send(method, path, headers, body)
        if answer.status == 401 and challenges and self._password:
            self._challenge, self._uses = challenges[0], 0  # the first is the one the server prefers
            answer, _ = await self._send(method, path, headers, body)
        return answer

    async def get(self, path: str, *, if_none_match: str = "") -> XcapAnswer:
        """Fetch a document or a node; XcapError for anything but 200 and 304."""
        return _checked(await self.request("GET", path, if_none_match=if_none_match))

    async def put(self, path: str, body: bytes, content_type: str, *, if_match: str = "") -> XcapAnswer:
        """Create or replace a document or a node. XcapError."""
        return _checked(await self.request("PUT", path, body=body, content_type=content_type, if_match=if_match))

    async def delete(self, path: str, *, if_match: str = "") -> XcapAnswer:
        """Delete a document or a node. XcapError."""
        return _checked(await self.request("DELETE", path, if_match=if_match))

    # --- what is deferred

    async def deferred_entries(self) -> list[DeferredEntry]:
        """All messages that wait, oldest first. XcapError, MalformedMessageError."""
        answer = await self.get(self.path(DEFERRED_LIST, "deferred-list"))
        return read_deferred_list(answer.body)

    async def delete_deferred(self, message_id: str) -> None:
        """Delete one message unread. XcapError: 404 for a message that is not there, 409 while it is being delivered."""
        reference = message_id if message_id.startswith("sip:") else f"sip:{message_id}"
        if '"' in reference or "<" in reference or "/" in reference or "&" in reference:
            raise XcapError(404, "Not Found", "", "")
        node = f'history-list/history[@history-reference="{reference}"]'
        await self.delete(self.path(DEFERRED_LIST, "deferred-list", node))

    async def delete_all_deferred(self) -> None:
        """Delete all that waits now. XcapError: 409 while some of it is being delivered."""
        await self.delete(self.path(DEFERRED_LIST, "deferred-list"))

    async def _send(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[XcapAnswer, list[Challenge]]:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS))
        url = URL(self.root + path, encoded=True)
        if self._challenge is not None:
            self._uses += 1
            target, cnonce = url.raw_path_qs, secrets.token_hex(8)
            value = credentials(self._challenge, self._username, self._password, method, target, self._uses, cnonce)
            headers = {**headers, "Authorization": value}
        try:
            tls = self._tls if self._tls is not None else True
            async with self._http.request(
                method, url, headers=headers, data=body or None, ssl=tls, allow_redirects=False
            ) as response:
                found = Headers()
                for value in response.headers.getall("WWW-Authenticate", []):
                    found.add("WWW-Authenticate", value)
                content = await _read(response)
                etag = response.headers.get("ETag", "").removeprefix("W/").strip('"')
                kind = response.headers.get("Content-Type", "")
                return XcapAnswer(response.status, response.reason or "", content, kind, etag), parse_challenges(found)
        except TimeoutError:
            raise NoAnswerError(f"no answer of {self.root} within {SECONDS:.0f} s") from None
        except aiohttp.ClientError as error:
            raise ConnectionFailedError(f"{self.root}: {error}") from None


def read_deferred_list(document: bytes) -> list[DeferredEntry]:
    """The messages in a deferred-list document, in its order. Raises MalformedMessageError."""
    root = _parse(document)
    if root is None or root.tag != f"{_HISTORY}history-list":
        raise MalformedMessageError("not a list of deferred messages")
    return [_entry(item) for item in root.iterfind(f"{_HISTORY}history")]


def _entry(item: etree._Element) -> DeferredEntry:
    def text(path: str) -> str:
        return (item.findtext("/".join(f"{_HISTORY}{name}" for name in path.split("/"))) or "").strip()

    size = text("size")
    return DeferredEntry(
        message_id=(item.get("history-reference") or "").removeprefix("sip:"),
        received=item.get("date") or "",
        expires=text("expiry"),
        size=int(size) if size.isascii() and size.isdecimal() else 0,
        sender=text("pager/from"),
        subject=text("subject"),
    )


def _parse(document: bytes) -> etree._Element | None:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        return etree.fromstring(document, parser)
    except etree.XMLSyntaxError:
        return None


def _checked(answer: XcapAnswer) -> XcapAnswer:
    if answer.status in (200, 201, 204, 304):
        return answer
    condition = phrase = ""
    if answer.content_type.partition(";")[0] == "application/xcap-error+xml":
        root = _parse(answer.body)
        if root is not None and len(root):
            condition, phrase = etree.QName(root[0]).localname, root[0].get("phrase") or ""
    raise XcapError(answer.status, answer.reason, condition, phrase)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for data in response.content.iter_any():
        body += data
        if len(body) > MAX_BYTES:
            raise ConnectionFailedError(f"the answer has more than {MAX_BYTES} bytes")
    return bytes(body)
