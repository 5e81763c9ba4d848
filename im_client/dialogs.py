"""The dialogs of one client: which request belongs to which, and how requests go out within one.

RFC 3261 section 12. What a dialog is used for (a session, a subscription) is a `Usage`; it owns a `Leg`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Any, Protocol

from sipmessage import Request

from . import PRODUCT, dialog
from .config import FEATURE_TAG, ClientConfig
from .dialog import Dialog, DialogId
from .endpoint import Endpoint, Handler
from .errors import ConnectionFailedError, MalformedMessageError, NoAnswerError
from .exchange import IncomingRequest, ReceivedResponse
from .requester import Requester
from .responses import identity_fields
from .wire import parse_name_addr

log = logging.getLogger(__name__)

METHODS = ("INVITE", "ACK", "BYE", "UPDATE", "PRACK", "NOTIFY")
"""What may come within a dialog."""
GONE = frozenset({408, 481})
"""Answers that end the dialog (section 12.2.1.2)."""


class Usage(Protocol):
    """What a dialog is used for."""

    async def on_request(self, request: IncomingRequest) -> None:
        """A request of the peer within the dialog; it has to be answered, unless it is an ACK."""


class DialogLayer:
    """Gives requests with a To tag to the usage of their dialog, and others to the handler of their method."""

    def __init__(self, endpoint: Endpoint, requester: Requester, config: ClientConfig) -> None:
        self.endpoint = endpoint
        self.requester = requester
        self.config = config
        self._usages: dict[DialogId, Usage] = {}
        self._expected: dict[tuple[str, str], Usage] = {}
        self._outside: dict[str, Handler] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        for method in METHODS:
            endpoint.handle(method, self._on_request)

    def __len__(self) -> int:
        return len(self._usages)

    def handle_outside(self, method: str, handler: Handler) -> None:
        """Give requests of `method` without dialog to `handler`."""
        self._outside[method] = handler

    def add(self, key: DialogId, usage: Usage) -> None:
        self._usages[key] = usage

    def remove(self, key: DialogId) -> None:
        self._usages.pop(key, None)

    def expect(self, call_id: str, local_tag: str, usage: Usage) -> None:
        """Take requests of any remote tag: a NOTIFY may come before the answer to its SUBSCRIBE."""
        self._expected[call_id, local_tag] = usage

    def expect_no_more(self, call_id: str, local_tag: str) -> None:
        self._expected.pop((call_id, local_tag), None)

    def usages(self) -> list[tuple[DialogId, Usage]]:
        return list(self._usages.items())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` until it ends or the client closes; a failure is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work in a dialog failed", exc_info=task.exception())

    async def close(self) -> None:
        """Stop what runs for dialogs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- what every request of a dialog has

    def contact(self) -> str:
        """The Contact value of this client, with its feature tag (clause 7.1.1.1-4). CLI-02."""
        host, port = self.endpoint.sent_by
        transport = self.endpoint.transport
        extra = "" if transport == "udp" else f";transport={transport}"
        return f"<sip:{self.config.user}@{host}:{port}{extra}>;{FEATURE_TAG}"

    def answer_fields(self) -> list[tuple[str, str]]:
        """Of a response that makes or refreshes a dialog (clause 7.1.2.1; Server is set by the response)."""
        return [
            ("Contact", self.contact()),
            ("Allow", self.endpoint.allow),
            ("Supported", ", ".join(sorted(self.endpoint.settings.supported))),
            *identity_fields(self.config),
        ]

    # --- requests in

    async def _on_request(self, request: IncomingRequest) -> None:
        message = request.message
        to_tag = parse_name_addr(message.headers.get("To") or "").tag
        from_tag = parse_name_addr(message.headers.get("From") or "").tag or ""
        call_id = message.headers.get("Call-ID") or ""
        if to_tag is None:
            await self._outside_dialog(request)
            return
        usage = self._usages.get((call_id, to_tag, from_tag)) or self._expected.get((call_id, to_tag))
        if usage is not None:
            await usage.on_request(request)
        elif message.method != "ACK":
            request.respond(481)  # section 12.2.2

    async def _outside_dialog(self, request: IncomingRequest) -> None:
        method = request.message.method
        handler = self._outside.get(method)
        if handler is not None:
            await handler(request)
        elif method != "ACK":
            request.respond(481)


class Leg:
    """One dialog as it stands now."""

    def __init__(self, layer: DialogLayer, state: Dialog) -> None:
        self.layer = layer
        self.dialog = state

    def next_cseq(self) -> int:
        self.dialog = replace(self.dialog, local_cseq=self.dialog.local_cseq + 1)
        return self.dialog.local_cseq

    def build(self, method: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"", number: int = 0) -> Request:
        fields = [("User-Agent", PRODUCT)]  # HDR-01
        if method in dialog.TARGET_REFRESH:
            fields.append(("Contact", self.layer.contact()))
        return dialog.build_request(self.dialog, method, [*fields, *headers], body, number)

    async def request(self, method: str, *, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> ReceivedResponse:
        """Send a request within the dialog; the final response, whatever it is.

        Raises NoAnswerError, ConnectionFailedError, ValueError.
        """
        response = await self.layer.requester.send(
            self.build(method, headers, body),
            next_cseq=self.next_cseq,
            next_hop=dialog.next_hop(self.dialog),
            follow=False,
        )
        if response.ok:
            self.dialog = dialog.answered(self.dialog, response.message)
        return response

    async def try_request(self, method: str, **options: Any) -> ReceivedResponse | None:
        """As `request`, for one whose failure changes nothing (BYE, PRACK): None where there is no answer."""
        try:
            return await self.request(method, **options)
        except (NoAnswerError, ConnectionFailedError, ValueError) as error:
            log.info("%s of %s: %s", method, self.dialog.call_id, error)
            return None

    def take(self, request: IncomingRequest) -> bool:
        """Take note of a request of the peer; answers 500 and returns False where it is out of order."""
        try:
            if not dialog.in_order(self.dialog, request.message):
                request.respond(500)  # section 12.2.2
                return False
            self.dialog = dialog.received(self.dialog, request.message)
        except MalformedMessageError:
            request.respond(400)
            return False
        return True
