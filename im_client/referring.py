"""Carry out a REFER, in the dialog of a session or in its own, and follow it (clauses 7.1.1.7, 7.1.1.11). CLI-02"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from . import dialog
from .dialogs import DialogLayer, Leg
from .errors import MalformedMessageError, SubscriptionError
from .exchange import IncomingRequest, ReceivedResponse
from .invitation import from_address, privacy_fields
from .pager import ACCEPT_CONTACT
from .refer import Progress, Referral, progress, refer
from .requester import build_request, new_call_id, new_tag
from .responses import identity_fields
from .session import Session
from .subscription import parse_state
from .wire import parse_uri


class Referring:
    """One referral. `outcome` is its last progress, None where nothing is told about it."""

    def __init__(self, layer: DialogLayer) -> None:
        self._layer = layer
        self._told: asyncio.Queue[Progress | None] = asyncio.Queue()
        self._leg: Leg | None = None
        self._half = ("", "")
        self.over = False

    async def next(self, seconds: float | None = 10.0) -> Progress:
        """The next progress. Raises TimeoutError after `seconds`, EOFError when there is no more."""
        async with asyncio.timeout(seconds):
            found = await self._told.get()
        if found is None:
            self._told.put_nowait(None)
            raise EOFError("the referral is over")
        return found

    async def outcome(self, seconds: float | None = 60.0) -> Progress | None:
        """The final progress; None where the notifications end without one. Raises TimeoutError."""
        try:
            while not (found := await self.next(seconds)).final:
                pass
        except EOFError:
            return None
        return found

    # --- how it is started

    async def within(self, session: Session, referral: Referral) -> ReceivedResponse:
        """Send it in the session's dialog. Raises SubscriptionError, and what `Session.request` raises."""
        session.refer_notified = self._take
        response = await session.request("REFER", headers=_fields(self._layer, referral), data=referral.body.data)
        return self._accepted(response, referral)

    async def outside(self, target: str, referral: Referral, *, anonymous: bool = False) -> ReceivedResponse:
        """Send it in a dialog of its own to the focus at `target`. Raises as `within`, and ValueError."""
        uri, tag, call_id = parse_uri(target), new_tag(), new_call_id()
        request = build_request(
            "REFER",
            uri,
            from_value=f"{from_address(self._layer.config, anonymous=anonymous)};tag={tag}",
            to_value=f"<{uri}>",
            call_id=call_id,
            headers=[
                ("Accept-Contact", ACCEPT_CONTACT),
                ("Contact", self._layer.contact()),
                *identity_fields(self._layer.config),
                *privacy_fields(anonymous=anonymous),
                *_fields(self._layer, referral),
            ],
            body=referral.body.data,
        )
        self._half = (call_id, tag)
        if not referral.quiet:
            self._layer.expect(call_id, tag, self)
        response = await self._layer.requester.send(request)
        return self._accepted(response, referral)

    def _accepted(self, response: ReceivedResponse, referral: Referral) -> ReceivedResponse:
        # RFC 4488 section 4: no notifications come only where the response says so too
        silent = (response.header("Refer-Sub") or "").partition(";")[0].strip().lower() == "false"
        if not response.ok or (referral.quiet and silent):
            self._end()
        if not response.ok:
            raise SubscriptionError(response.status, response.reason, response.warning)
        return response

    # --- what the focus tells

    async def on_request(self, request: IncomingRequest) -> None:
        """A NOTIFY in the dialog of its own."""
        if self._leg is None and request.message.method == "NOTIFY":
            try:
                self._leg = Leg(self._layer, dialog.of_callee(request.message, self._half[1]))
            except MalformedMessageError:
                request.respond(400)
                return
            self._layer.add(self._leg.dialog.id, self)
        elif self._leg is None or not self._leg.take(request):
            request.respond(481)
            return
        self._take(request)

    def _take(self, request: IncomingRequest) -> None:
        message = request.message
        told = parse_state(message.headers.get("Subscription-State") or "")
        event = (message.headers.get("Event") or "").partition(";")[0].strip().lower()
        if message.method != "NOTIFY" or self.over:
            request.respond(481)
            return
        if event != "refer" or told is None:
            request.respond(489 if event != "refer" else 400)
            return
        request.respond(200)
        found = progress(message)
        if found is not None:
            self._told.put_nowait(found)
        if told.value == "terminated":
            self._end()

    def _end(self) -> None:
        self.over = True
        self._layer.expect_no_more(*self._half)
        if self._leg is not None:
            self._layer.remove(self._leg.dialog.id)
        self._told.put_nowait(None)


def invite_users(users: Sequence[str], *, remove: bool = False) -> Referral:
    """The referral that adds `users` to a conference, or removes them. Raises ValueError."""
    return refer(users, content_id=f"{new_call_id()}@im-client.invalid", method="BYE" if remove else "")


def _fields(layer: DialogLayer, referral: Referral) -> list[tuple[str, str]]:
    return [*referral.fields, ("Allow", layer.endpoint.allow), *referral.body.fields()]
