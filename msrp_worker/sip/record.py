"""Between a leg and what is stored of it."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from msrp_worker.sip.dialog import Dialog, next_number
from msrp_worker.sip.invite import Phase
from msrp_worker.sip.leg_types import TRANSACTION_S, Leg, LegPolicy, Role
from msrp_worker.sip.offer_answer import Exchange
from msrp_worker.sip.session_timer import SessionTimer
from msrp_worker.store.legs import LegRecord

UNSTORED = frozenset({Phase.INCOMING, Phase.EARLY, Phase.TERMINATED})
"""A suspended INVITE dies with its Kamailio transaction, which answers 503 on its own: nothing to release."""
CALLING = frozenset({Phase.CALLING, Phase.WITHDRAWN, Phase.PROCEEDING, Phase.CANCELLING})


def record_of(leg: Leg, node: str, owner: tuple[str, str], epoch: float) -> LegRecord | None:
    """What is to be stored of a leg, None for nothing. `epoch` is the epoch time when the clock of the leg was 0."""
    if leg.phase in UNSTORED:
        return None
    dialog, timer = leg.dialog, leg.timer
    state: Literal["calling", "confirmed"] = "calling" if leg.phase in CALLING else "confirmed"
    return LegRecord(
        call_id=dialog.call_id,
        local_tag=dialog.local_tag,
        node=node,
        owner_kind=owner[0],
        owner_id=owner[1],
        role=leg.role.value,
        state=state,
        remote_tag=dialog.remote_tag,
        local_uri=dialog.local_uri,
        remote_uri=dialog.remote_uri,
        remote_target=dialog.remote_target,
        route_set=dialog.route_set,
        contact=dialog.contact,
        local_cseq=dialog.local_cseq,
        remote_cseq=dialog.remote_cseq,
        invite_cseq=leg.invite_cseq,
        session_interval=timer.interval,
        refreshes_here=timer.refreshes_here,
        expires=epoch + timer.expires_at if timer.interval else 0.0,
        peer_update=leg.peer_allows_update,
        local_sdp=leg.local_sdp,
        remote_sdp=leg.remote_sdp,
    )


def differs(one: LegRecord | None, other: LegRecord) -> bool:
    """Whether the change is worth a write: CSeq numbers alone are not, see `dialog.next_number`."""
    if one is None:
        return True
    return replace(one, local_cseq=other.local_cseq, remote_cseq=other.remote_cseq) != other


def leg_of(record: LegRecord, policy: LegPolicy, now: float, epoch: float) -> Leg:
    """The leg after a restart, at `now`: a session that stands, or a call that may still be answered."""
    calling = record.state == "calling"
    dialog = Dialog(
        call_id=record.call_id,
        local_tag=record.local_tag,
        remote_tag=record.remote_tag,
        local_uri=record.local_uri,
        remote_uri=record.remote_uri,
        remote_target=record.remote_target,
        route_set=record.route_set,
        contact=record.contact,
        local_cseq=record.invite_cseq if calling else next_number(record.local_cseq),
        remote_cseq=record.remote_cseq,
    )
    return Leg(
        role=Role(record.role),
        phase=Phase.PROCEEDING if calling else Phase.CONFIRMED,
        policy=policy,
        dialog=dialog,
        invite_cseq=record.invite_cseq,
        exchange=Exchange.LOCAL_OFFER if calling else Exchange.STABLE,
        timer=SessionTimer(record.session_interval, record.refreshes_here, record.expires - epoch),
        invite_limit=now + TRANSACTION_S if calling else float("inf"),
        local_sdp=record.local_sdp,
        remote_sdp=record.remote_sdp,
        peer_allow=frozenset({"update"}) if record.peer_update else frozenset(),
    )
