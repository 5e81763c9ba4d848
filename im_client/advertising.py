"""Group advertisements on the client: a MESSAGE that tells users of groups (6.2.3.8, E.1.5 to E.1.9). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msrp_worker.group_advertisement import (
    CONTENT_TYPE,
    FEATURE_TAG,
    Advertisement,
    AdvertisementError,
    build,
    parse,
)

from .pager import ACCEPT_CONTACT, Outgoing, PagerMessage

SENT_TYPE = "application/vnd.IM.group-advertisement+xml"  # E.1.6, in its spelling
ROUTING = ("Accept-Contact", ACCEPT_CONTACT.replace(";require", f";{FEATURE_TAG};require"))  # ADV-03


def outgoing(to: str, advertisement: Advertisement) -> Outgoing:
    """The MESSAGE that tells `to`, a group or a user, of groups. Raises AdvertisementError for what the schema refuses."""
    return Outgoing(to=to, body=build(advertisement), content_type=SENT_TYPE, headers=(ROUTING,))


def of_message(message: PagerMessage) -> Advertisement | None:
    """The first advertisement in a message; None where there is none, or none that can be read."""
    return first((part.media_type, part.body) for part in message.parts)


def first(parts: Iterable[tuple[str, bytes]]) -> Advertisement | None:
    """The first advertisement among contents with their media types; None as in `of_message`."""
    for media_type, body in parts:
        if media_type.partition(";")[0].strip().lower() == CONTENT_TYPE:
            try:
                return parse(body)
            except AdvertisementError:
                continue
    return None
