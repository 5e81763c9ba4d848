"""Kamailio as the legs see it: `sip.port` over the link."""

from __future__ import annotations

import re
from collections.abc import Callable

from kemi import messages
from kemi.messages import Incoming, SipEvent, SipRequest, TransactionId
from msrp_worker.kamailio_link import KamailioLink
from msrp_worker.sip.port import (
    AckReceived,
    CancelInvite,
    CancelReceived,
    Command,
    PortEvent,
    Reply,
    RequestReceived,
    RequestTimedOut,
    ResponseReceived,
    SendRequest,
)

_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
MAX_INVITES = 20_000
"""INVITEs whose CANCEL is recognised; the oldest are forgotten, they have their answer long since."""


class KamailioPort:
    """Commands of legs go to Kamailio, what happens to them comes to `heard`."""

    def __init__(self, link: KamailioLink, heard: Callable[[PortEvent, Incoming], None]) -> None:
        self._link = link
        self._heard = heard
        self._invites: dict[tuple[str, str, int], TransactionId] = {}
        link.on_leg = self._on_leg

    def send(self, command: Command, pin: int) -> bool:
        """See `sip.port.Port.send`."""
        match command:
            case Reply():
                headers = _lines(command.headers)
                body = command.body.decode("utf-8", "replace")
                self._link.reply(command.transaction, command.status, command.reason, command.to_tag, headers, body)
                return True
            case SendRequest():
                headers, initial = _lines(command.headers), _is_initial(command)
                if initial and command.method == "MESSAGE":
                    return self._link.send_message(command.request_uri, headers, command.body, pin)
                body = command.body.decode("utf-8", "replace")
                request = messages.SendRequest(command.method, command.request_uri, command.next_hop, headers, body)
                return self._link.send_request(request, pin, initial=initial)
            case CancelInvite():
                return self._link.cancel_invite(command.call_id, command.cseq, pin)

    def _on_leg(self, incoming: Incoming) -> None:
        message = incoming.message
        if isinstance(message, SipRequest) and message.method == "INVITE" and incoming.transaction is not None:
            self._invites[message.call_id, message.from_tag, message.cseq] = incoming.transaction
            if len(self._invites) > MAX_INVITES:
                self._invites.pop(next(iter(self._invites)))
        event = self._event(incoming)
        if event is not None:
            self._heard(event, incoming)

    def _event(self, incoming: Incoming) -> PortEvent | None:
        """What a packet of the link tells a leg; None when it tells nothing."""
        message = incoming.message
        if isinstance(message, SipRequest) and incoming.transaction is not None:
            return RequestReceived(incoming.transaction, incoming.content)
        if not isinstance(message, SipEvent):
            return None
        match message.kind:
            case "ack":
                return AckReceived(incoming.content)
            case "cancelled":
                waiting = self._invites.pop((message.call_id, message.from_tag, message.cseq), None)
                return None if waiting is None else CancelReceived(waiting)
            case "response":
                return ResponseReceived(message.call_id, message.cseq, message.method, incoming.content)
            case "timeout":
                return RequestTimedOut(message.call_id, message.cseq, message.method, message.from_tag, message.to_tag)


def _lines(headers: tuple[tuple[str, str], ...]) -> str:
    return "".join(f"{name}: {_one_line(value)}\r\n" for name, value in headers)


def _one_line(value: str) -> str:
    """What Kamailio's functions take and a header may hold: a peer's text may have bytes that are no UTF-8, and worse."""
    if value.isascii() and value.isprintable():
        return value
    return _CONTROLS.sub(" ", value.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _is_initial(command: SendRequest) -> bool:
    """A request outside a dialog has no To tag."""
    to = next((value for name, value in command.headers if name.lower() == "to"), "")
    return ";tag=" not in to.rpartition(">")[2]
