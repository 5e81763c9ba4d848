"""Which procedure each hook of `im.cfg` runs. No decisions here, no Kamailio here: `adapter` has the one, the procedures
the other.

A hook is called by `python_exec("name")`. It leaves in `$var(im_next)` what the native route does next: `done`, `core`,
`recipient`, or `continue` (resume the transaction named by `$var(im_index)`, `$var(im_label)`).
"""

from __future__ import annotations

from typing import Any

from kemi import focus_uri, pager_originating, pager_terminating, service_settings, third_party_register
from kemi.actions import Ask, ToCore, server_unavailable
from kemi.adapter import Adapter
from kemi.ksr import next_step, number, read, read_bytes
from kemi.messages import PagerFacts, PagerQuestion
from kemi.request import Request
from kemi.sip_values import canonical


class App:
    """The object that Kamailio's app_python3 calls; one per process after the fork."""

    def __init__(self) -> None:
        self._adapter = Adapter()

    def child_init(self, rank: int) -> int:
        """Sockets are opened at first use, in the process that uses them."""
        del rank
        return 0

    def im_control(self, message: Any) -> int:
        """A private request of the worker on the control listener."""
        return self._adapter.run(self._adapter.control)

    def im_originating(self, message: Any) -> int:
        """An initial request of a served user."""
        return self._adapter.run(self._originating)

    def im_terminating(self, message: Any) -> int:
        """An initial request towards a served user, from somebody who is not served here."""
        return self._adapter.run(self._terminating)

    def im_resume(self, message: Any) -> int:
        """The worker's answer has come, or could not be asked for."""
        return self._adapter.run(self._resume)

    def im_unanswered(self, message: Any) -> int:
        """The worker did not answer in time."""
        return self._adapter.run(self._unanswered)

    def im_delivery_failed(self, message: Any) -> int:
        """No binding of the recipient took the request."""
        return self._adapter.run(self._delivery_failed)

    def im_third_party_register(self, message: Any) -> int:
        """A REGISTER of the core about one of its users."""
        return self._adapter.run(self._third_party_register)

    def im_publish(self, message: Any) -> int:
        """A PUBLISH of service settings."""
        return self._adapter.run(self._publish)

    def im_contacts(self, message: Any) -> int:
        """A client's REGISTER: find out whether a contact is IM-capable."""
        return self._adapter.run(self._contacts)

    def im_mark_contacts(self, message: Any) -> int:
        """The REGISTER of an authenticated client: mark its bindings with what they take."""
        return self._adapter.run(self._mark_contacts)

    def im_server_request(self, message: Any) -> int:
        """A request of the worker itself, on the control listener."""
        return self._adapter.run(self._adapter.server_request)

    def im_bridged(self, message: Any) -> int:
        """An INVITE of the participating function in the media path, towards a served user."""
        return self._adapter.run(self._bridged)

    def im_leg_request(self, message: Any) -> int:
        """A request for a leg of the worker."""
        return self._adapter.run(self._adapter.leg_request)

    def im_leg_response(self, message: Any) -> int:
        """A response to a request of a leg."""
        return self._adapter.run(lambda: self._adapter.tell_leg("response", read_bytes("$mb")), answer=False)

    def im_leg_timeout(self, message: Any) -> int:
        """No response to a request of a leg."""
        return self._adapter.run(lambda: self._adapter.tell_leg("timeout", b""), answer=False)

    def im_leg_cancelled(self, message: Any) -> int:
        """The INVITE that waits for the worker's reply was cancelled; tm has answered it."""
        return self._adapter.run(lambda: self._adapter.tell_leg("cancelled", b""), answer=False)

    def im_traces(self, message: Any) -> int:
        """The timer process: send what was traced."""
        return self._adapter.run(self._adapter.send_traces, answer=False)

    def _originating(self) -> int:
        request = self._adapter.request(look_up=True)
        if focus_uri.is_for_leg(request):
            return self._adapter.perform(request, focus_uri.screen(request, self._adapter.policy))
        action = pager_originating.screen(request, self._adapter.policy)
        if isinstance(action, Ask) and isinstance(action.question, PagerQuestion):
            facts = self._adapter.known(request, action.question)
            if facts is not None:
                return self._after_originating(request, facts)
        return self._adapter.perform(request, action)

    def _after_originating(self, request: Request, facts: PagerFacts) -> int:
        """The originating side has the facts; the terminating side has them too, when it is in the same pass."""
        action = pager_originating.decide(request, facts, self._adapter.policy)
        if isinstance(action, ToCore) and request.serves_recipient:
            return self._adapter.perform(request, pager_terminating.decide(request, facts, self._adapter.policy))
        return self._adapter.perform(request, action)

    def _terminating(self) -> int:
        request = self._adapter.request(look_up=True)
        if focus_uri.is_for_leg(request):
            return self._adapter.perform(request, focus_uri.screen(request, self._adapter.policy))
        action = pager_terminating.screen(request, self._adapter.policy)
        if isinstance(action, Ask) and isinstance(action.question, PagerQuestion):
            facts = self._adapter.known(request, action.question)
            if facts is not None:
                return self._adapter.perform(request, pager_terminating.decide(request, facts, self._adapter.policy))
        return self._adapter.perform(request, action)

    def _resume(self) -> int:
        answer = self._adapter.answer
        stage = self._adapter.restore_state()
        policy = self._adapter.policy
        request = self._adapter.request(look_up=isinstance(answer, PagerFacts))
        if isinstance(answer, PagerFacts):
            return self._decide(request, stage, answer)
        if answer is not None and stage == pager_terminating.DEFER_STAGE:
            return self._adapter.perform(request, pager_terminating.deferred(answer, policy))
        if answer is not None and stage == third_party_register.STAGE:
            expires = read("$hdr(Expires)")
            return self._adapter.perform(request, third_party_register.decide(answer, expires, policy))
        if answer is not None and stage == service_settings.STAGE:
            return self._adapter.perform(request, service_settings.decide(answer, policy))
        if answer is not None and stage == focus_uri.STAGE:
            return self._adapter.perform(request, focus_uri.decide(answer, policy))
        return self._unavailable(request, "IM worker could not be asked")

    def _decide(self, request: Request, stage: str, facts: PagerFacts) -> int:
        ask = (pager_originating if stage == pager_originating.STAGE else pager_terminating).screen(
            request, self._adapter.policy
        )
        if isinstance(ask, Ask) and isinstance(ask.question, PagerQuestion):
            self._adapter.remember(ask.question, facts)
        if stage == pager_originating.STAGE:
            return self._after_originating(request, facts)
        return self._adapter.perform(request, pager_terminating.decide(request, facts, self._adapter.policy))

    def _unanswered(self) -> int:
        self._adapter.restore_state()
        return self._unavailable(self._adapter.request(), "IM worker did not answer in time")

    def _delivery_failed(self) -> int:
        status = number("$var(im_status)")
        self._adapter.restore_state()
        request = self._adapter.request()
        action = pager_terminating.delivery_failed(request, status, self._adapter.policy)
        # The worker notes the reception of what it stores.
        self._adapter.trace(request, "failed", status, note_received=action is None)
        return next_step("pass") if action is None else self._adapter.perform(request, action)

    def _bridged(self) -> int:
        request = self._adapter.request(look_up=True)
        return self._adapter.perform(request, pager_terminating.decide_bridged(request))

    def _third_party_register(self) -> int:
        request = self._adapter.request()
        capable = third_party_register.capable(read("$(hdr(Contact)[*])"), read("$rb"))
        action = third_party_register.screen(request.call_id, canonical(read("$tu")), read("$hdr(Expires)"), capable)
        return self._adapter.perform(request, action)

    def _publish(self) -> int:
        request = self._adapter.request()
        event, if_match = read("$(hdr(Event)[*])"), read("$(hdr(SIP-If-Match)[*])")
        action = service_settings.screen(request, event, if_match, self._adapter.policy)
        return self._adapter.perform(request, action)

    def _contacts(self) -> int:
        return next_step("capable" if self._adapter.registers_for_im() else "plain")

    def _mark_contacts(self) -> int:
        return next_step("marked" if self._adapter.mark_contacts() else "done")

    def _unavailable(self, request: Request, warning: str) -> int:
        return self._adapter.refuse(request, server_unavailable(warning, self._adapter.policy.retry_after))
