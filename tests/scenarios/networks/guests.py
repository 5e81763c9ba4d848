"""Users of both home networks who take part in conferences: real clients, and the groups they are members of."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from im_client.client import ImClient
from im_client.im_session import ImSession
from im_client.multipart import Part
from im_client.recipients import RESOURCE_LISTS, CopyControl, Recipient, build_list
from tests.scenarios.conference.conference import LIST_DISPOSITION, User
from tests.scenarios.networks.networks import Home

_numbers = itertools.count(1)


class Guest(User):
    """A registered user of one of the homes."""

    def __init__(self, home: Home, name: str, client: ImClient) -> None:
        super().__init__(name, client)
        self.home = home
        self.uri = home.uri(name)

    async def start(self, others: Sequence[Guest], **options: Any) -> ImSession:
        """Set up an ad-hoc session with these users, through the factory of the own home."""
        entries = [Recipient(one.uri, CopyControl.TO) for one in others]
        part = Part(RESOURCE_LISTS, build_list(entries), (LIST_DISPOSITION,))
        return await self.create((), part=part, **options)


@asynccontextmanager
async def guests(*homes: Home, **options: Any) -> AsyncIterator[list[Guest]]:
    """A new user of each of `homes`, registered there, in their order."""
    async with AsyncExitStack() as stack:
        found = []
        for home in homes:
            name = home.new_user()
            client = await stack.enter_async_context(home.client(name, **options))
            await client.register()
            found.append(Guest(home, name, client))
        yield found


def new_group(home: Home, members: Sequence[Guest], actions: str = "", *, by: str = "") -> str:
    """A group of `home` with these members, who are all invited and may have `actions` besides, or `by` alone has them; its
    address."""
    uri = f"sip:group{next(_numbers)}@{home.domain}"
    entries = "".join(f'<entry uri="{one.uri}"/>' for one in members)
    common = "<join-handling>true</join-handling><allow-initiate-conference>true</allow-initiate-conference>"
    pairs = [("<is-list-member/>", common if by else common + actions)]
    pairs += [(f'<cr:identity><cr:one id="{by}"/></cr:identity>', actions)] if by else []
    rules = "".join(
        f'<cr:rule id="r{number}"><cr:conditions>{conditions}</cr:conditions><cr:actions>{given}</cr:actions></cr:rule>'
        for number, (conditions, given) in enumerate(pairs)
    )
    rules = f"<cr:ruleset>{rules}</cr:ruleset>" if actions else ""
    document = (
        '<group xmlns="urn:oma:xml:poc:list-service" xmlns:cr="urn:ietf:params:xml:ns:common-policy">'
        f'<list-service uri="{uri}"><list>{entries}</list><invite-members>true</invite-members>{rules}</list-service>'
        "</group>"
    ).encode()
    home.instance.in_store(lambda store: store.groups.put(uri, document))
    return uri
