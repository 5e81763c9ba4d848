"""What a REFER asks of the focus, and who may ask it (7.2.1.7, 7.2.1.8, 7.2.2.7, RFC 3515, 4488, 4579, 5368). Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from msrp_worker.address import of_record
from msrp_worker.controlling.invitation import asks_for_privacy
from msrp_worker.controlling.refusal import Refused, forbidden, too_many
from msrp_worker.group import Group
from msrp_worker.group_rules import GroupRights, rights
from msrp_worker.multipart import MultipartError, Part, read_parts
from msrp_worker.sip.message import Message, address
from msrp_worker.sip.port import Headers
from msrp_worker.uri_list import (
    RECIPIENT_LIST,
    Problem,
    Recipient,
    UriList,
    UriListError,
    read_resource_list,
    read_uri_list,
)

MULTIPLE_REFER: Final = "multiple-refer"
NOREFERSUB: Final = "norefersub"
UNDERSTOOD: Final = frozenset({MULTIPLE_REFER, NOREFERSUB, "timer", "100rel", "replaces", "recipient-list-invite"})
"""Option tags that a REFER may require."""

_METHOD = re.compile(r"[;?&]method=([^;?&]*)", re.IGNORECASE)
_SCHEMES: Final = ("sip", "sips", "tel")


class Asked(StrEnum):
    """What is to be done with those who are named."""

    INVITE = "INVITE"
    BYE = "BYE"


class Referral(Struct, frozen=True):
    """One REFER."""

    asked: Asked
    users: UriList
    """Whom it names, each once, without methods and header components."""
    several: bool
    """They stand in a list."""
    silent: bool
    """No notifications are wanted (CNF-23)."""
    anonymous: bool
    """It asks for privacy."""


def read_referral(request: Message) -> Referral | Refused:
    """What a REFER asks for. A request that says nothing we can do is refused before anything else is judged."""
    unknown = sorted(request.tokens("require") - UNDERSTOOD)
    if unknown:
        return Refused(420, "Bad Extension", "CNF-22", more=(("Unsupported", ", ".join(unknown)),))
    values = request.values("refer-to")
    if len(values) != 1:
        return _bad("Refer-To: exactly one is needed")  # RFC 3515 section 2.4.2
    uri = address(values[0])
    scheme = uri.partition(":")[0].lower()
    several = scheme == "cid"
    found = _listed(request, uri) if several else _single(uri, scheme)
    if isinstance(found, Refused):
        return found
    methods, users = found
    if len(methods) > 1:
        return _bad("URI-list: one method for all")
    method = methods.pop().upper() or Asked.INVITE
    if method not in set(Asked):
        return forbidden("CNF-22", f"Refer-To: method {method[:20]} is not for the focus")
    return Referral(Asked(method), users, several, is_silent(request), asks_for_privacy(request))


def is_silent(request: Message) -> bool:
    """Whether the sender wants no notifications (RFC 4488 section 4).

    COMPAT(clients of the draft of 7.1.1.7): they write `Norefer-Sub: true`.
    """
    wish, draft = (request.first(name).partition(";")[0].strip().lower() for name in ("refer-sub", "norefer-sub"))
    return wish == "false" or (not wish and draft == "true")


def answer_headers(referral: Referral, contact: str, *, outside: bool) -> Headers:
    """What the 202 carries. `outside`: the REFER came outside any dialog."""
    headers: list[tuple[str, str]] = [("Contact", contact)]
    if outside:
        headers.append(("Supported", f"{NOREFERSUB}, {MULTIPLE_REFER}"))  # CNF-23
    if referral.silent:
        headers.append(("Refer-Sub", "false"))  # CNF-23
    return tuple(headers)


# --- who may


class Standing(Struct, frozen=True):
    """What decides whether a user may change who takes part in a session."""

    user: str
    participants: Collection[str]
    initiator: str
    group: Group | None = None
    anyone_adds: bool = True
    """Local policy for ad-hoc sessions: any participant adds others, otherwise only the initiator (CNF-31)."""

    @property
    def rights(self) -> GroupRights | None:
        """The rights of the user in the group; None for an ad-hoc session."""
        return None if self.group is None else rights(self.group, self.user)


def judge_adding(standing: Standing, *, anonymous: bool) -> Refused | None:
    """Whether the user may add others (7.2.1.7-1, -2)."""
    if standing.user not in standing.participants:
        return forbidden("CNF-31", "Not a participant of this session")  # CNF-31
    may = standing.rights
    if may is None:
        if not standing.anyone_adds and standing.user != standing.initiator:
            return forbidden("CNF-31", "Users are added by the initiator")  # CNF-31
        return None
    if not may.invite_dynamically or not may.join:
        return forbidden("CNF-31", "Adding users is not allowed in this group")  # CNF-31
    if anonymous and not may.anonymity:
        return forbidden("IDN-06", "Anonymity is not allowed in this group")  # IDN-06
    return None


class Sorted(Struct, frozen=True):
    """Those to be added, by what becomes of them."""

    present: tuple[str, ...]
    """Take part or are called already, the sender among them: nothing is to be done."""
    fresh: tuple[Recipient, ...]
    """To be invited."""
    barred: tuple[str, ...]
    """May not take part by the rules of the group (7.2.2.7)."""


def sort_out(users: UriList, here: Collection[str], group: Group | None) -> Sorted | Refused:
    """What becomes of each of those named; the refusal when the rules bar all of them (CNF-31)."""
    fresh, barred = [], []
    for one in users.recipients:
        if one.uri in here:
            continue
        if group is not None and not rights(group, one.uri).join:
            barred.append(one.uri)
        else:
            fresh.append(one)
    present = tuple(one.uri for one in users.recipients if one.uri in here)
    if barred and not fresh and not present:
        return forbidden("CNF-31", "Not allowed to take part in this group")  # CNF-31
    return Sorted(present, tuple(fresh), tuple(barred))


def judge_removing(standing: Standing, keys: Collection[str], here: Collection[str]) -> Refused | None:
    """Whether the user may remove these (7.2.1.8-1, -2; RFC 4579 section 5.11). `here`: everybody, the invited too."""
    if standing.user not in standing.participants:
        return forbidden("CNF-25", "Not a participant of this session")  # CNF-25
    if not set(keys) & set(here):
        return forbidden("CNF-25", "No such participant")  # CNF-25
    if set(keys) <= {standing.user}:
        return None
    may = standing.rights
    if (standing.user != standing.initiator) if may is None else not may.expel:
        return forbidden("CNF-25", "Removing others is not allowed")  # CNF-25
    return None


# --- reading


def _single(uri: str, scheme: str) -> tuple[set[str], UriList] | Refused:
    if scheme not in _SCHEMES:
        return _bad("Refer-To: cannot be reached with SIP")  # RFC 3515 section 2.4.2
    target = without_method(uri)
    try:
        key = of_record(target)
    except ValueError:
        return _bad("Refer-To: not an address")
    return {method_of(uri)}, UriList((Recipient(key, target),))


def _listed(request: Message, pointer: str) -> tuple[set[str], UriList] | Refused:
    """The list that Refer-To points at (RFC 5368 section 7, RFC 2392)."""
    try:
        part = _part(request, pointer.partition(":")[2])
        if part is None:
            return _bad("Refer-To: points at no part of the body")
        disposition = part.header("Content-Disposition")
        found = read_uri_list(part.content_type, part.body, disposition)
        if found is None:
            return _bad(f"Refer-To: points at no {RECIPIENT_LIST}")
        methods = {method_of((entry.get("uri") or "").strip()) for entry in read_resource_list(part.body)}
        users: dict[str, Recipient] = {}
        for one in found.recipients:
            target = without_method(one.target)
            key = of_record(target)
            users.setdefault(key, replace(one, uri=key, target=target))
    except UriListError as error:
        if error.problem is Problem.TOO_LONG:
            return too_many("CNF-22")
        reason = "Unsupported Media Type" if error.status == 415 else "Bad Request"
        return Refused(error.status, reason, "CNF-22", str(error))
    except (MultipartError, ValueError) as error:
        return _bad(str(error))
    return methods, UriList(tuple(users.values()))


def _part(request: Message, content_id: str) -> Part | None:
    """The part of the body with this Content-ID; that of a body without parts stands in the header of the request."""
    own = request.first("content-id").strip().removeprefix("<").removesuffix(">")
    parts = read_parts(request.first("content-type"), request.body, request.first("content-disposition"))
    if len(parts) == 1 and own and not parts[0].content_id:
        return parts[0] if own == content_id else None
    return next((part for part in parts if part.content_id == content_id), None)


def method_of(uri: str) -> str:
    """The method that a URI names, as parameter or, as in the example of RFC 5368, as header component; else empty."""
    found = _METHOD.search(uri)
    return found[1].strip().upper() if found else ""


def without_method(uri: str) -> str:
    """A URI to send a request to: without method and header components, which a stranger chose."""
    return _METHOD.sub("", uri.partition("?")[0])


def _bad(text: str) -> Refused:
    return Refused(400, "Bad Request", "CNF-22", text)
