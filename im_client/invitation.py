"""The INVITE of an IM client (clauses 7.1.1.1, 7.1.1.2, 9.1.1.1). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from sipmessage import URI, Request

from .body import NOTHING, Body
from .config import ClientConfig
from .pager import ACCEPT_CONTACT, ANONYMOUS, SessionType
from .requester import build_request
from .responses import identity_fields
from .wire import parse_uri, quote

PRIVACY = ("Privacy", "id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """An invitation to send. `to` is the Request-URI: a user, a group, a session identity, the deferred function.

    `session_type` becomes its session parameter (E.2.1). `headers` follow the others.
    """

    to: str
    body: Body = NOTHING
    session_type: SessionType | None = None
    anonymous: bool = False
    nickname: str = ""  # display name of an anonymous user
    subject: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What this client can do, as its requests tell it."""

    contact: str  # the Contact value
    allow: str
    supported: str


def build(invite: Invite, config: ClientConfig, abilities: Abilities, *, call_id: str, tag: str) -> Request:
    """The INVITE, without Via, CSeq and session timer. Raises ValueError for a `to` that is no SIP URI. CLI-02."""
    target = parse_uri(invite.to)
    recipient = URI(target.scheme, target.host, target.user, target.password, target.port)
    uri = target if invite.session_type is None else _with_type(target, invite.session_type)
    fields = [
        ("Accept-Contact", ACCEPT_CONTACT),  # 7.1.1.1-1
        ("Contact", abilities.contact),  # -4
        *identity_fields(config),
        *privacy_fields(anonymous=invite.anonymous),  # -5
        ("Allow", abilities.allow),  # -3
        ("Supported", abilities.supported),  # -5 (the second of this number): timer
        ("Accept", "application/sdp, multipart/mixed"),
        ("Subject", invite.subject),
        *invite.body.fields(),
        *invite.headers,
    ]
    return build_request(
        "INVITE",
        uri,
        from_value=f"{from_address(config, anonymous=invite.anonymous, nickname=invite.nickname)};tag={tag}",
        to_value=f"<{recipient}>",
        call_id=call_id,
        headers=fields,
        body=invite.body.data,
    )


def privacy_fields(*, anonymous: bool) -> list[tuple[str, str]]:
    """Privacy of a request whose user wants to be anonymous (clauses 5.2, 7.1.1.13). IDN-04"""
    return [PRIVACY] if anonymous else []


def from_address(config: ClientConfig, *, anonymous: bool = False, nickname: str = "") -> str:
    """The address of From, without tag: anonymous, optionally with a nickname (clause 5.2)."""
    if anonymous:
        return ANONYMOUS.replace('"Anonymous"', quote(nickname)) if nickname else ANONYMOUS
    name = f"{quote(config.display_name)} " if config.display_name else ""
    return f"{name}<{config.identity_uri}>"


def _with_type(uri: URI, kind: SessionType) -> URI:
    parameters = uri.parameters.replace(session=kind.value)
    return URI(uri.scheme, uri.host, uri.user, uri.password, uri.port, parameters)
