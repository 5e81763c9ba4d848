"""The implicit subscription of a REFER on the wire: in the dialog of a session, or in one of its own (RFC 3515 2.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from kemi.messages import TransactionId
from msrp_worker.controlling import refer_progress
from msrp_worker.controlling.place import Place
from msrp_worker.controlling.refer_progress import PACKAGE, SIPFRAG, News, Progress
from msrp_worker.notify_dialog import NotifyDialog
from msrp_worker.sip.invite import Phase
from msrp_worker.sip.leg_types import LegId, Respond, Send
from msrp_worker.sip.message import Message
from msrp_worker.sip.port import Headers
from msrp_worker.sip.shell import LegManager

_CONTENT_TYPE = ("Content-Type", SIPFRAG)


class Channel(Protocol):
    """How one REFER is answered, and its NOTIFYs go out."""

    name: str
    """Parameter `id` of Event; empty where there is none."""
    sent: int
    """CSeq of the last NOTIFY, where that is known."""

    def accept(self, transaction: TransactionId, headers: Headers) -> None:
        """202."""
        ...

    def notify(self, state: str, body: bytes) -> bool:
        """Send a NOTIFY; False when nobody can be reached this way any more."""
        ...

    def close(self) -> None:
        """The subscription is over."""
        ...


class NoDialog:
    """A REFER outside any dialog that wants no notifications makes none (RFC 4488 section 4)."""

    name = ""
    sent = 0

    def __init__(self, legs: LegManager, request: Message) -> None:
        self._legs = legs
        self._request = request

    def accept(self, transaction: TransactionId, headers: Headers) -> None:
        """See `Channel`."""
        self._legs.reply(transaction, self._request, 202, "Accepted", headers)

    def notify(self, state: str, body: bytes) -> bool:
        """See `Channel`."""
        return False

    def close(self) -> None:
        """See `Channel`."""


class OwnDialog:
    """A REFER outside any dialog has made one."""

    name = ""
    sent = 0

    def __init__(self, dialog: NotifyDialog) -> None:
        self.dialog = dialog

    def accept(self, transaction: TransactionId, headers: Headers) -> None:
        """See `Channel`."""
        self.dialog.accept_referral(transaction, headers)

    def notify(self, state: str, body: bytes) -> bool:
        """See `Channel`."""
        self.dialog.notify(state, (_CONTENT_TYPE,), body)
        return True

    def close(self) -> None:
        """See `Channel`."""
        self.dialog.close()


class SessionDialog:
    """A REFER inside the dialog of a session; its CSeq tells its NOTIFYs from those of other REFERs."""

    def __init__(self, legs: LegManager, leg_id: LegId, cseq: int) -> None:
        self.name = str(cseq)
        self.sent = 0
        self.leg_id = leg_id
        self._legs = legs

    def accept(self, transaction: TransactionId, headers: Headers) -> None:
        """See `Channel`."""
        self._legs.order(self.leg_id, Respond(transaction=transaction, status=202, reason="Accepted", headers=headers))

    def notify(self, state: str, body: bytes) -> bool:
        """See `Channel`."""
        leg = self._legs.find(self.leg_id)
        if leg is None or leg.phase not in (Phase.CONFIRMED, Phase.ACCEPTED):
            return False
        self.sent = leg.dialog.local_cseq + 1
        event = ("Event", f"{PACKAGE.event};id={self.name}")
        headers = (event, ("Subscription-State", state), _CONTENT_TYPE)
        return self._legs.order(self.leg_id, Send(method="NOTIFY", headers=headers, body=body))

    def close(self) -> None:
        """See `Channel`."""


class ReferSubscription:
    """One implicit subscription; owner of its dialog where it has its own (`functions.DialogOwner`)."""

    def __init__(
        self, channel: Channel, on_over: Callable[[ReferSubscription], None], *, several: bool, silent: bool
    ) -> None:
        """`several`: NOTIFYs name whom they tell of. `silent`: there are none (CNF-23)."""
        self.channel = channel
        self._on_over = on_over
        self._several = several
        self._state = Progress(over=silent)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def over(self) -> bool:
        """Nothing is told any more."""
        return self._state.over

    def named(self, news: News) -> News:
        """News as they are told: with the user where several are meant."""
        return replace(news, shown=news.shown or news.key) if self._several else news

    def heard(self, place: Place, status: int, reason: str, warning: str = "") -> None:
        """See `place.Progress`. Who answers under no name is named as the others see him (IDN-08)."""
        shown = place.anonymous if self._several else ""
        self.tell(refer_progress.Told(self.named(News(place.key, status, reason, shown, warning))))

    def tell(self, event: refer_progress.Event) -> None:
        """Something happened."""
        self._state, notifies = refer_progress.step(self._state, event, asyncio.get_running_loop().time())
        for one in notifies:
            if not self.channel.notify(one.state, one.body):
                self._state = replace(self._state, over=True)
        if self._state.over:
            self.stop()
            self.channel.close()
            self._on_over(self)
        else:
            self._arm()

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def on_request(self, transaction: TransactionId, request: Message) -> None:
        """A SUBSCRIBE in the dialog of its own refreshes or ends the subscription."""
        assert isinstance(self.channel, OwnDialog), "nobody else owns a dialog"
        seconds = self.channel.dialog.refreshed(transaction, request, PACKAGE)
        if seconds is not None:
            self.channel.dialog.accept(transaction, seconds)
            self.tell(refer_progress.Refreshed(seconds))

    def on_response(self, response: Message | None, cseq: int) -> None:
        """What became of a NOTIFY in the dialog of its own."""
        assert isinstance(self.channel, OwnDialog), "nobody else owns a dialog"
        if self.channel.dialog.is_final(response, cseq):
            self.tell(refer_progress.Notified(0 if response is None else response.status))

    def _arm(self) -> None:
        self.stop()
        at = self._state.next_deadline()
        if at != refer_progress.NEVER:
            self._timer = asyncio.get_running_loop().call_at(at, self.tell, refer_progress.Tick())
