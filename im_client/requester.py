"""Send a request as a user agent does: with credentials, following challenges and redirections.

RFC 3261 section 8.1. One call is one request of the application; it may take several transactions.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from sipmessage import URI, Request

from . import PRODUCT
from .digest import Authenticator, parse_challenges
from .endpoint import Endpoint
from .errors import MalformedMessageError
from .exchange import ReceivedResponse
from .transport import Target
from .wire import header_names, parse_name_addr, parse_uri, values

MAX_CHALLENGES = 5
"""Challenges answered for one request: two proxies and a server, and a nonce that grows stale meanwhile."""

MAX_TARGETS = 8
"""URIs tried for one request after redirections (RFC 3261 section 8.1.3.4)."""

Transmit = Callable[[Request], Awaitable[ReceivedResponse]]
"""Carries out one attempt: sends the request as it is, returns its final response."""


def new_call_id() -> str:
    """A Call-ID that says nothing about the host (RFC 3323 section 4.1)."""
    return secrets.token_hex(16)


def new_tag() -> str:
    return secrets.token_hex(8)


def build_request(
    method: str,
    uri: URI,
    *,
    from_value: str,
    to_value: str,
    call_id: str,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> Request:
    """A request with the fields of RFC 3261 section 8.1.1 but Via and CSeq, which the sending adds.

    `headers` follow in their order; one that names a field set here replaces it, an empty value leaves
    it out.
    """
    request = Request(method, uri, body)
    request.headers.add("Max-Forwards", "70")
    request.headers.add("From", from_value)
    request.headers.add("To", to_value)
    request.headers.add("Call-ID", call_id)
    request.headers.add("CSeq", f"0 {method}")
    request.headers.add("User-Agent", PRODUCT)  # HDR-01
    own = {name.lower() for name in header_names(request.headers)}
    for name, value in headers:
        if name.lower() in own:
            own.discard(name.lower())
            request.headers.remove(name)
        if value:
            request.headers.add(name, value)
    return request


class Requester:
    """Sends requests of one user through one endpoint."""

    def __init__(self, endpoint: Endpoint, authenticator: Authenticator) -> None:
        self._endpoint = endpoint
        self._authenticator = authenticator

    async def send(
        self,
        request: Request,
        *,
        datagram_limit: int | None = None,
        next_cseq: Callable[[], int] | None = None,
        next_hop: Target | None = None,
        transmit: Transmit | None = None,
        follow: bool = True,
    ) -> ReceivedResponse:
        """The final response, after challenges were answered and redirections followed, if `follow`.

        `next_cseq` numbers the attempts; without it they count from 1. `transmit` carries out one attempt in place
        of Endpoint.request. Errors as those of Endpoint.request.
        """
        if transmit is None:
            transmit = partial(self._endpoint.request, datagram_limit=datagram_limit, next_hop=next_hop)
        number = next_cseq or itertools.count(1).__next__
        targets, tried = [request.uri], {str(request.uri)}
        while True:
            response = await self._with_credentials(request, targets.pop(0), number, transmit)
            if follow and 300 <= response.status < 400:
                for uri in _redirections(response):
                    if str(uri) not in tried and len(tried) < MAX_TARGETS:
                        tried.add(str(uri))
                        targets.append(uri)
            failed = response.status >= 300
            if not failed or not targets or response.status >= 600:
                return response

    async def _with_credentials(
        self, request: Request, uri: URI, number: Callable[[], int], transmit: Transmit
    ) -> ReceivedResponse:
        answered: set[tuple[bool, str]] = set()
        for _ in range(MAX_CHALLENGES + 1):
            attempt = self._attempt(request, uri, number())
            response = await transmit(attempt)
            if response.status not in (401, 407):
                return response
            challenges = parse_challenges(response.message.headers)
            fresh = [c for c in challenges if c.stale or (c.proxy, c.realm) not in answered]
            # A challenge for a realm that has just had an answer to its own nonce means a wrong password.
            if not fresh or len(fresh) != len(challenges) or not self._authenticator.password:
                return response
            answered |= {(c.proxy, c.realm) for c in challenges}
            self._authenticator.learn(challenges, str(uri))
        return response

    def _attempt(self, request: Request, uri: URI, number: int) -> Request:
        attempt = Request(request.method, uri, request.body)
        for name in header_names(request.headers):
            for value in request.headers.getlist(name):
                attempt.headers.add(name, value)
        attempt.headers.set("CSeq", f"{number} {request.method}")
        for name, value in self._authenticator.headers(request.method, str(uri), new_tag):
            attempt.headers.add(name, value)
        return attempt


def _redirections(response: ReceivedResponse) -> list[URI]:
    """The usable URIs of Contact, best q first (RFC 3261 section 8.1.3.4).

    Their header part is not taken over.
    """
    found: list[tuple[float, URI]] = []
    for value in values(response.message.headers, "Contact"):
        try:
            contact = parse_name_addr(value)
            uri = parse_uri(contact.uri.partition("?")[0])
            rest = {name: text for name, text in uri.parameters.items() if name.lower() != "method"}
            clean = URI(uri.scheme, uri.host, uri.user, uri.password, uri.port, type(uri.parameters)(**rest))
            found.append((float(contact.parameters.get("q") or 1.0), clean))
        except (MalformedMessageError, ValueError, TypeError):
            continue
    return [uri for _, uri in sorted(found, key=lambda entry: -entry[0])]
