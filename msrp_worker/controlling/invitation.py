"""The INVITEs of the focus (7.2.2.1, 7.2.2.2). Pure."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from msrp_worker.controlling.identity import ALLOW_EVENTS
from msrp_worker.multipart import Part, build
from msrp_worker.sip.leg_types import Invitation, LegPolicy
from msrp_worker.sip.message import Message, address, name_of
from msrp_worker.sip.port import Header
from msrp_worker.sip.session_timer import TimerPolicy

ALLOW: Final = (
    *("INVITE", "ACK", "CANCEL", "BYE", "PRACK", "UPDATE"),
    *("REFER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "OPTIONS"),
)
"""Methods of the focus (HDR-04)."""
SUPPORTED: Final = ("timer", "100rel", "replaces", "recipient-list-invite", "norefersub", "multiple-refer")
"""Option tags of the focus; recipient-list-invite is the factory's (RFC 5366 section 5)."""
INCOMING: Final = LegPolicy(timer=TimerPolicy(refresher="uac"), allow=ALLOW, supported=SUPPORTED)  # CNF-28
"""Legs of who comes in."""
OUTGOING: Final = LegPolicy(timer=TimerPolicy(ask="uas"), allow=ALLOW, supported=SUPPORTED)  # HDR-04
"""Legs of who is invited: they refresh (7.2.2.1-8)."""

SDP: Final = "application/sdp"
ANONYMOUS_FROM: Final = ('"Anonymous"', "sip:anonymous@anonymous.invalid")


class Inviter(Struct, frozen=True, kw_only=True):
    """Who invites, as those invited are told."""

    uri: str
    """Authenticated address."""
    name: str = ""
    """Display name of From as a quoted string; empty for none."""
    from_uri: str
    anonymous: str = ""
    """Stands for the address where privacy was asked for (IDN-04)."""
    privacy: tuple[str, ...] = ()
    """Privacy values of the request."""


def inviter_of(request: Message, originator: str, anonymous: str) -> Inviter:
    """Who sent a request. `anonymous`: the URI that stands for him, where he wants privacy, else empty."""
    value = request.first("from")
    return Inviter(
        uri=originator,
        name=quoted(plain_name(name_of(value))),  # IDN-02: nothing in it reads as one more identity
        from_uri=address(value),
        anonymous=anonymous,
        privacy=tuple(request.lines("privacy")),
    )


def asks_for_privacy(message: Message) -> bool:
    """Whether a request or response has `id` among its Privacy values (RFC 3323 section 4.2, RFC 3325 section 9.3)."""
    words = {word.strip() for line in message.lines("privacy") for word in line.lower().replace(",", ";").split(";")}
    return "id" in words


def quoted(name: str) -> str:
    """A display name as a quoted string (RFC 3261 section 25.1); empty for an empty one."""
    plain = "".join(character for character in name if character.isprintable())
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if escaped else ""


def plain_name(name: str) -> str:
    """The text of a display name as it stands in From."""
    text = name.strip()
    if not (text.startswith('"') and text.endswith('"') and len(text) > 1):
        return text
    return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")


def invitation(
    inviter: Inviter,
    target: str,
    contact: str,
    sdp: bytes,
    *,
    group: str = "",
    group_name: str = "",
    nickname: str = "",
    to_name: str = "",
    subject: str = "",
    replaces: str = "",
    history: Part | None = None,
    boundary: str = "",
) -> Invitation:
    """The INVITE to the URI `target`. `group` is the IM Group Identity of a group session, else empty; `nickname` is that
    of the inviting user in the group. `history` tells who else is invited (RFC 5366 section 5), with a `boundary` for it.
    """
    asserted = group or inviter.uri
    name = quoted(nickname) if nickname and not inviter.anonymous else ""  # CNF-32
    if not name and not inviter.anonymous:
        name = inviter.name  # CNF-32
    headers: list[Header] = [
        ("Accept-Contact", "*;+g.oma.sip-im;explicit"),  # HDR-02; User-Agent is Kamailio's (HDR-01)
        ("P-Asserted-Identity", f"{name} <{asserted}>" if name else f"<{asserted}>"),  # HDR-06, CNF-32
        # Who wants privacy is not named to those invited, who see this header (IDN-04).
        ("Referred-By", f"<{inviter.anonymous or inviter.uri}>"),  # HDR-06
        ALLOW_EVENTS,
    ]
    headers += [("Privacy", value) for value in inviter.privacy]  # HDR-06
    if subject:
        headers.append(("Subject", subject))
    if replaces:
        headers.append(("Replaces", replaces))  # CNF-11
    from_name, from_uri = _from(inviter, group, group_name)
    content_type, body = SDP, b""
    if history is not None:
        content_type, body = build([Part(SDP, sdp), history], boundary)
    return Invitation(
        request_uri=target,
        from_uri=from_uri,
        to_uri=target.partition("?")[0].partition(";")[0],
        contact=contact,  # HDR-03
        sdp=sdp,
        body=body,
        content_type=content_type,
        headers=tuple(headers),
        from_name=from_name,
        to_name=quoted(to_name),
    )


def _from(inviter: Inviter, group: str, group_name: str) -> tuple[str, str]:
    """From: the group in a session of a group, else the inviting user, under no name where privacy was asked for."""
    if group:
        return quoted(group_name), group
    if inviter.anonymous:
        return ANONYMOUS_FROM  # IDN-04
    return inviter.name, inviter.from_uri
