"""Groups in a URI-list stand for their members (CNF-06)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msrp_worker.controlling.refusal import Refused, forbidden
from msrp_worker.group import Group
from msrp_worker.group_rules import rights
from msrp_worker.uri_list import Recipient, UriList

FindGroup = Callable[[str], Awaitable[Group | None]]


async def expanded(listed: UriList, initiator: str, limit: int, find: FindGroup) -> UriList | Refused:
    """Whom the list means: members in place of groups, groups within groups too, each user once, the initiator left out.

    Looks at no more than is needed to know that more than `limit` are meant. A group is opened only to who may take part
    in it, since the invitations tell who its members are. Errors of `find`.
    """
    found: dict[str, Recipient] = {}
    opened: set[str] = set()
    waiting = list(reversed(listed.recipients))
    while waiting and len(found) <= limit:
        recipient = waiting.pop()
        if recipient.uri == initiator or recipient.uri in found or recipient.uri in opened:
            continue
        group = await find(recipient.uri)
        if group is None:
            found[recipient.uri] = recipient
            continue
        if not rights(group, initiator).join:
            return forbidden("CNF-06", f"Not a participant of {group.uri}")
        opened.add(group.uri)
        members = [Recipient(one.uri, one.uri, display_name=one.display_name) for one in group.members]
        waiting += reversed(members)
    return UriList(tuple(found.values()))
