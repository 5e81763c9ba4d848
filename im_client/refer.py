"""Ask a focus to invite or remove others: REFER and its progress (RFC 3515, 4488, 5368, 3420; clause 7.1.1.7). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sipmessage import Request

from .body import NOTHING, Body, of_message
from .recipients import RESOURCE_LISTS, Recipient, build_list
from .wire import quote

SIPFRAG = "message/sipfrag"
_STATUS = re.compile(rb"\s*SIP/2\.0 ([1-6][0-9]{2})[ ]?([^\r\n]*)")


@dataclass(frozen=True, slots=True)
class Referral:
    """The fields and the body of a REFER. `quiet`: no notifications are wanted (RFC 4488)."""

    fields: tuple[tuple[str, str], ...]
    body: Body = NOTHING
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """What a NOTIFY of a referral tells (RFC 3515 section 2.4.4)."""

    status: int
    reason: str

    @property
    def final(self) -> bool:
        return self.status >= 200


def refer(users: Sequence[str], *, content_id: str, method: str = "", quiet: bool | None = None) -> Referral:
    """Refer a focus to one user or to several; `method` "BYE" removes them. CLI-02

    One user is named in Refer-To, and the progress is told (7.1.1.7-3); several stand in a list, and it is not
    (-4). `quiet` overrides that. Raises ValueError for no users or a URI that is none.
    """
    if not users:
        raise ValueError("nobody to refer to")
    several = len(users) > 1
    silent = several if quiet is None else quiet
    # The draft's word is Norefer-Sub: true; RFC 4488 calls it Refer-Sub: false.
    flags = [("Refer-Sub", "false"), ("Supported", "norefersub")] if silent else [("Refer-Sub", "true")]
    suffix = f";method={method}" if method else ""
    if not several:
        return Referral((("Refer-To", f"<{users[0]}{suffix}>"), *flags), NOTHING, silent)
    document = build_list([Recipient(f"{user}{suffix}", None) for user in users])
    body = Body(RESOURCE_LISTS, document)
    fields = [
        ("Refer-To", f"<cid:{content_id}>"),  # RFC 5368 section 5
        ("Require", "multiple-refer"),
        *flags,
        ("Content-ID", f"<{content_id}>"),
        ("Content-Disposition", "recipient-list"),
    ]
    return Referral(tuple(fields), body, silent)


def progress(notify: Request) -> Progress | None:
    """The status in a NOTIFY of a referral; None where it has none."""
    body = of_message(notify)
    if not body.content_type.lower().startswith(SIPFRAG):
        return None
    match = _STATUS.match(body.data)
    return None if match is None else Progress(int(match[1]), match[2].decode("utf-8", "replace"))


def referred_by(identity: str, display_name: str = "") -> tuple[str, str]:
    """Referred-By (RFC 3892) of a request made on behalf of `identity`."""
    return "Referred-By", f"{quote(display_name)} <{identity}>" if display_name else f"<{identity}>"
