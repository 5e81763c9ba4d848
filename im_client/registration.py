"""Registration of an IM client (clause 5.3, RFC 3261 section 10).

Register, refresh, re-register, de-register.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from sipmessage import URI, Parameters, Request

from msrp_worker.group_advertisement import FEATURE_TAG as ADVERTISEMENT_TAG

from .config import FEATURE_TAG, ClientConfig, Contact
from .endpoint import Endpoint
from .errors import ImClientError, MalformedMessageError, RegistrationError
from .exchange import ReceivedResponse
from .requester import Requester, build_request, new_call_id, new_tag
from .wire import host_text, parse_name_addr, parse_uri, quote, values

log = logging.getLogger(__name__)

RETRY_FIRST = 5.0
RETRY_LONGEST = 300.0
"""Seconds between attempts after a failed refresh, doubling.

RFC 3261 section 10.2.7 asks not to retry at once.
"""


def refresh_after(granted: float) -> float:
    """Seconds after which a binding granted for `granted` seconds is refreshed.

    As 3GPP TS 24.229 has it: 600 seconds before the end, or at half the time of a short one.
    """
    return granted - 600 if granted > 1200 else granted / 2


class Registration:
    """The bindings of one client.

    `on_registered` is awaited after each initial registration (clause 5.3.2).
    """

    def __init__(self, config: ClientConfig, endpoint: Endpoint, requester: Requester) -> None:
        self._config = config
        self._endpoint = endpoint
        self._requester = requester
        self._call_id = new_call_id()  # RFC 3261 section 10.2.4: one Call-ID for all of a boot cycle
        self._tag = new_tag()
        self._next_cseq = itertools.count(1).__next__
        self._contacts = config.contacts
        self._know_users()
        self._lock = asyncio.Lock()
        self._expires = config.expires
        self._bound: list[str] = []  # the URIs of our bindings at the registrar
        self._refresher: asyncio.Task[None] | None = None
        self._due = 0.0  # when the next refresh is, in seconds of the loop's clock
        self._changed = asyncio.Event()  # wakes the refresher to look at `_due` again
        self.granted: float | None = None  # seconds the registrar granted last; None while not registered
        self.on_registered: Callable[[], Awaitable[None]] | None = None

    async def register(
        self, *, expires: int | None = None, contacts: tuple[Contact, ...] | None = None
    ) -> ReceivedResponse:
        """Register, or re-register with other `contacts`; keeps the bindings alive from now on. CLI-01.

        `expires` are seconds asked for, now and at each refresh. Raises RegistrationError, NoAnswerError,
        ConnectionFailedError.
        """
        initial = self.granted is None
        if contacts is not None:
            self._contacts = contacts
            self._know_users()
        if expires is not None:
            self._expires = expires
        response = await self._register(self._expires)
        if self._refresher is None:
            self._refresher = asyncio.get_running_loop().create_task(self._keep())
        if initial and self.on_registered is not None:
            await self.on_registered()
        return response

    def _know_users(self) -> None:
        own = frozenset(contact.user or self._config.user for contact in self._contacts)
        self._endpoint.users |= own | {self._config.user}

    async def leave_im(self) -> ReceivedResponse:
        """Re-register without the feature tag.

        The terminal stays registered, but not for IM (clause 5.3.3-2).
        """
        plain = tuple(replace(contact, feature_tag=False) for contact in self._contacts)
        return await self.register(contacts=plain)  # CLI-01

    async def deregister(self, *, everything: bool = False) -> ReceivedResponse:
        """Remove the bindings of this client: REGISTER with Expires 0 (clause 5.3.3-3). CLI-01.

        With `everything` the bindings of all devices go (Contact: *, RFC 3261 section 10.2.2).
        """
        async with self._lock:  # a refresh under way gets its answer first
            await self.stop()
        response = await self._register(0, everything=everything)
        self.granted = None
        return response

    async def stop(self) -> None:
        """End the refreshing; the bindings stay until they expire."""
        task, self._refresher = self._refresher, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def refresh_now(self) -> None:
        """Register again at once: the connection the registrar knew is gone."""
        self._refresh_in(0.0)

    def _refresh_in(self, seconds: float) -> None:
        self._due = asyncio.get_running_loop().time() + seconds
        self._changed.set()

    async def _keep(self) -> None:
        retry = RETRY_FIRST
        while True:
            await self._until_due()
            try:
                await self._register(self._expires)
                retry = RETRY_FIRST
            except (ImClientError, OSError) as error:
                log.warning("the registration of %s was not refreshed: %s", self._config.identity, error)
                self._refresh_in(retry)
                retry = min(2 * retry, RETRY_LONGEST)

    async def _until_due(self) -> None:
        while (left := self._due - asyncio.get_running_loop().time()) > 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return

    async def _register(self, expires: int, *, everything: bool = False) -> ReceivedResponse:
        # RFC 3261 section 10.2: no new registration before the previous one has its answer
        async with self._lock:
            response = await self._send(expires, everything)
            if response.status == 423 and expires:  # section 10.2.8
                shortest = _seconds(response.header("Min-Expires"))
                if shortest is not None and shortest > expires:
                    expires = shortest
                    response = await self._send(expires, everything)
            if not response.ok:
                raise RegistrationError(_explain(response, self._config), response.status, response.reason)
            self._bound = [str(self.contact_uri(contact)) for contact in self._contacts] if expires else []
            if expires:
                self.granted = float(self._granted(response, expires))
                self._refresh_in(refresh_after(self.granted))
            return response

    async def _send(self, expires: int, everything: bool) -> ReceivedResponse:
        await self._endpoint.connect()  # over TLS the Contact is only known then
        request = self._build(expires, everything)
        return await self._requester.send(request, next_cseq=self._next_cseq)

    def _build(self, expires: int, everything: bool) -> Request:
        identity = f"<{self._config.identity_uri}>"
        name = f"{quote(self._config.display_name)} " if self._config.display_name else ""
        fields = [("Contact", self.contact_value(contact)) for contact in self._contacts]
        current = {str(self.contact_uri(contact)) for contact in self._contacts}
        # A connection made anew has another address: the binding to the old one goes in the same request.
        fields += [("Contact", f"<{uri}>;expires=0") for uri in self._bound if uri not in current]
        if everything:
            fields = [("Contact", "*")]
        fields += [("Expires", str(expires)), ("Require", "pref")]  # clause 5.3.1, RFC 3840 section 6
        return build_request(
            "REGISTER",
            self._config.registrar_uri,
            from_value=f"{name}{identity};tag={self._tag}",
            to_value=identity,
            call_id=self._call_id,
            headers=fields,
        )

    def contact_uri(self, contact: Contact) -> URI:
        """The URI at which this client is reached under that binding."""
        host, port = self._endpoint.local
        transport = self._endpoint.transport
        extra = Parameters() if transport == "udp" else Parameters(transport=transport)
        return URI("sip", host_text(host), contact.user or self._config.user, None, port, extra)

    def contact_value(self, contact: Contact) -> str:
        """A Contact value with its feature tags (clause 5.3.1)."""
        value = f"<{self.contact_uri(contact)}>"
        if contact.feature_tag:
            value += f";{FEATURE_TAG}"  # CLI-01
            if contact.group_advertisements:
                value += f";{ADVERTISEMENT_TAG}"  # ADV-03
        if contact.instance_id:
            value += f';+sip.instance="<{contact.instance_id}>"'
        if contact.q:
            value += f";q={contact.q}"
        return value + "".join(f";{parameter}" for parameter in contact.extra)

    def _granted(self, response: ReceivedResponse, asked: int) -> int:
        """The shortest time the registrar gave one of our bindings (RFC 3261 section 10.2.4)."""
        own = {_comparable(self.contact_uri(contact)) for contact in self._contacts}
        times = []
        for value in values(response.message.headers, "Contact"):
            try:
                found = parse_name_addr(value)
                if _comparable(parse_uri(found.uri)) in own:
                    times.append(_seconds(found.parameters.get("expires")))
            except (MalformedMessageError, ValueError):
                continue
        usable = [seconds for seconds in times if seconds]
        return min(usable) if usable else (_seconds(response.header("Expires")) or asked)


def _comparable(uri: URI) -> tuple[str, str | None, str, int | None, str]:
    """What of RFC 3261 section 19.1.4 tells our own contacts from others."""
    transport = (uri.parameters.get("transport") or "udp").lower()
    return uri.scheme, uri.user, uri.host.lower(), uri.port, transport


def _seconds(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) <= 10 else None


def _explain(response: ReceivedResponse, config: ClientConfig) -> str:
    text = f"{config.proxy} refused to register {config.identity}: {response.status} {response.reason}"
    if response.status in (401, 407):
        user = config.username or config.user
        hint = f"wrong password of user {user!r}?" if config.password else "a password is needed"
        return f"{text}; {hint}"
    return f"{text}{response.warning_text}"
