"""Subscribers to conference state for the scenarios: the reference client's, and one that keeps every byte."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType

from im_client.conference_info import Conference, update
from im_client.errors import SubscriptionError
from im_client.exchange import ReceivedResponse
from im_client.subscriber import CONFERENCE, Notification, Subscriber
from tests.scenarios.agent import ACCEPT_CONTACT, Agent, Message
from tests.scenarios.conference.conference import PATIENCE, User

EVENT = "Event: conference"
ACCEPT = "Accept: application/conference-info+xml"


class Watch:
    """A subscription of a user, and what its notifications have told. Use as `async with`."""

    def __init__(self, user: User, uri: str, *, expires: int = 3600, package: tuple[str, str] = CONFERENCE) -> None:
        self.subscriber = Subscriber(user.client.calls.layer, uri, package, expires=expires)
        self.conference = Conference()
        self.told: list[Notification] = []
        self.times: list[float] = []
        self.answer: ReceivedResponse | None = None

    async def __aenter__(self) -> Watch:
        self.answer = await self.subscriber.start()
        await self.next()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.subscriber.end()

    async def next(self) -> Notification:
        """The next notification, applied; a document that does not follow on the one before is a failure."""
        found = await self.subscriber.next(PATIENCE)
        self.told.append(found)
        self.times.append(time.monotonic())
        if found.body:
            applied = update(self.conference, found.body.data)
            assert applied is not None, "a document before it is missing"
            assert applied.version == self.conference.version + 1 or self.conference.version < 0
            self.conference = applied
        return found

    async def until(self, **users: str) -> None:
        """Take notifications until these users have that status, by name, and nobody else is there."""
        async with asyncio.timeout(PATIENCE):
            while self.present != users:
                await self.next()

    @property
    def present(self) -> dict[str, str]:
        """Status of everybody who is there, by the user part of the URI shown."""
        return {
            user.entity.partition(":")[2].partition("@")[0]: " ".join(user.status.values())
            for user in self.conference.present
        }

    def status(self, name: str) -> str:
        """The status of one user, also when it is gone."""
        user = next(one for uri, one in self.conference.users.items() if f":{name}@" in uri)
        return " ".join(user.status.values())

    @property
    def documents(self) -> bytes:
        """All bytes of all notifications."""
        return b"".join(bytes(one.request) for one in self.told)


async def refusal(user: User, uri: str, **options: object) -> ReceivedResponse | int:
    """The status with which a subscription of a user is refused."""
    try:
        await Watch(user, uri, **options).subscriber.start()  # type: ignore[arg-type]
    except SubscriptionError as error:
        return error.status
    return 200


class RawWatch:
    """A subscription of an agent, which answers its notifications only as it is told."""

    def __init__(self, agent: Agent, uri: str, *headers: str, expires: int = 3600) -> None:
        self.agent = agent
        fields = (ACCEPT_CONTACT, EVENT, ACCEPT, f"Contact: <{agent.contact}>", *headers, f"Expires: {expires}")
        self.answer = agent.ask("SUBSCRIBE", uri, *fields)

    def notified(self, status: int = 200, reason: str = "Whatever", *headers: str) -> Message:
        """The next NOTIFY, answered."""
        found = self.agent.receive("NOTIFY")
        self.agent.reply(found, status, reason, *headers)
        return found

    def again(self, expires: int, *headers: str) -> Message:
        """Refresh: the final response. A NOTIFY that comes meanwhile waits."""
        fields = (
            ACCEPT_CONTACT,
            EVENT,
            f"Contact: <{self.agent.contact}>",
            *headers,
            f"Expires: {expires}",
            "Content-Length: 0",
        )
        data = self.agent.within(self.answer, "SUBSCRIBE")
        self.agent.send(data.replace(b"Content-Length: 0", "\r\n".join(fields).encode()))
        return self.agent.final(self.answer.value("Call-ID"))


async def beside(work: Callable[[], Message]) -> Message:
    """Do what waits for datagrams beside running clients."""
    return await asyncio.to_thread(work)
