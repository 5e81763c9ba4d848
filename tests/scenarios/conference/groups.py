"""Group documents for the scenarios."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from tests.scenarios.bed import DOMAIN, Instance
from tests.scenarios.conference.conference import address

_numbers = itertools.count(1)
MEMBERS = "<is-list-member/>"
JOIN = "<join-handling>true</join-handling>"
INITIATE = "<allow-initiate-conference>true</allow-initiate-conference>"
ANONYMITY = "<allow-anonymity>true</allow-anonymity>"


def identity(*names: str) -> str:
    """A condition: one of these users."""
    return "<cr:identity>" + "".join(f'<cr:one id="{address(name)}"/>' for name in names) + "</cr:identity>"


def rules(*pairs: tuple[str, str]) -> str:
    """A ruleset of conditions and actions."""
    found = "".join(
        f'<cr:rule id="r{number}"><cr:conditions>{conditions}</cr:conditions><cr:actions>{actions}</cr:actions></cr:rule>'
        for number, (conditions, actions) in enumerate(pairs)
    )
    return f"<cr:ruleset>{found}</cr:ruleset>" if found else ""


def document(
    uri: str,
    members: Sequence[str] | Mapping[str, str] = (),
    *,
    invite: bool = True,
    most: int | None = None,
    ruleset: str = "",
    name: str = "Friends",
) -> bytes:
    """A group document; `members` may have display names."""
    names = members if isinstance(members, Mapping) else dict.fromkeys(members, "")
    entries = "".join(
        f'<entry uri="{address(member)}">' + (f"<rl:display-name>{shown}</rl:display-name>" if shown else "") + "</entry>"
        for member, shown in names.items()
    )
    limit = "" if most is None else f"<max-participant-count>{most}</max-participant-count>"
    return (
        '<group xmlns="urn:oma:xml:poc:list-service" xmlns:rl="urn:ietf:params:xml:ns:resource-lists" '
        'xmlns:cr="urn:ietf:params:xml:ns:common-policy">'
        f'<list-service uri="{uri}"><display-name>{name}</display-name><list>{entries}</list>'
        f"<invite-members>{str(invite).lower()}</invite-members>{limit}{ruleset}</list-service></group>"
    ).encode()


def put(instance: Instance, uri: str, *args: object, **options: object) -> str:
    """Store a group, new or changed; its address."""
    made = document(uri, *args, **options)  # type: ignore[arg-type]
    instance.in_store(lambda store: store.groups.put(uri, made))
    return uri


def new_group(instance: Instance, *args: object, **options: object) -> str:
    """A group of the test's own."""
    return put(instance, f"sip:group{next(_numbers)}@{DOMAIN}", *args, **options)


def delete(instance: Instance, uri: str) -> None:
    """Delete a group."""
    assert instance.in_store(lambda store: store.groups.delete(uri))
