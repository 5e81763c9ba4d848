"""The participants of a session as others may see them: for the conference package (CES-05)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msrp_worker.controlling.conference_state import ConferenceUser, UserStatus
from msrp_worker.controlling.im_session import ImSession
from msrp_worker.controlling.place import Place
from msrp_worker.controlling.seat import Stage
from msrp_worker.msrp.switch import Switch

STATUS: Final = {
    Stage.ASKING: UserStatus.PENDING,
    Stage.DIALING: UserStatus.DIALING_OUT,
    Stage.ALERTING: UserStatus.ALERTING,
    Stage.CONNECTED: UserStatus.CONNECTED,
}
"""In the order in which one status of a user outweighs another: who is connected with one client is connected."""
_WEIGHT: Final = {stage: weight for weight, stage in enumerate(STATUS)}


def roster(places: Mapping[int, Place], state: ImSession, switch: Switch) -> list[ConferenceUser]:
    """Everybody who takes part, waits or is invited; one entry for each user."""
    found: dict[str, ConferenceUser] = {}
    for number, seat in sorted(state.seats.items(), key=lambda item: _WEIGHT[item[1].stage]):
        place = places.get(number)
        if place is not None:
            found[seat.key] = _shown(place, seat.stage, switch)
    return list(found.values())


def _shown(place: Place, stage: Stage, switch: Switch) -> ConferenceUser:
    participant = place.media.participant
    nickname = None if participant is None else switch.nicknames.of(participant.session)
    return ConferenceUser(
        key=place.key,
        entity=place.entity,
        endpoint=place.entity if place.anonymous or not place.contact else place.contact,
        display_text=nickname or ("Anonymous" if place.anonymous else place.name),  # MED-07
        status=STATUS[stage],
        joining_method="dialed-in" if place.dialed_in else "dialed-out",
    )
