"""Users, their digest credentials, and the facts about them that every request needs."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from msrp_worker.address import canonical, domain_of
from msrp_worker.common_policy import REJECT_EVERYONE, Rules, RulesError, parse_rules
from msrp_worker.config import LARGEST_SIZE, Config, parse_content_types
from msrp_worker.service_settings import compose
from msrp_worker.store.content import ContentFiles
from msrp_worker.store.credentials import credentials
from msrp_worker.store.database import BUMP_REVISION, LOCK_REVISION, Database, Result, Row, Statement
from msrp_worker.store.errors import AddressTaken, UnknownUser, Unmet
from msrp_worker.store.lists import Lists
from msrp_worker.store.publications import SETTINGS_COLUMNS, read_settings

log = logging.getLogger(__name__)

MAX_CACHED_USERS = 50_000
"""Users whose facts stay in memory, about 1 KiB each without rules."""
LONGEST_USERNAME = 64
"""Characters that Kamailio's subscriber table takes."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A served user as the operator set it; None: the service-wide value."""

    address: str
    im_service: bool = True
    """The subscription holds the IM service (COR-04)."""
    im_allowed: bool = True
    """May send instant messages (PAG-02)."""
    pager_max_size: int | None = None
    large_max_size: int | None = None
    content_types: str | None = None
    willing: bool = True
    pager_barred: bool = False
    session_barred: bool = False


class UserFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What procedures ask about a user: the user's own values over the service-wide ones."""

    address: str
    im_service: bool
    im_allowed: bool
    pager_max_size: int
    """Bytes of a MESSAGE body (PAG-03)."""
    large_max_size: int
    """Bytes of a large message or file."""
    content_types: tuple[str, ...]
    """Allowed content types in lower case, `*` and `text/*` as patterns (PAG-03)."""
    willing: bool
    """False: messages are deferred although the user is registered (DEF-12)."""
    pager_barred: bool
    """Pager mode is refused (PAG-06): the operator or a device of the user bars it."""
    session_barred: bool
    """Sessions are refused: the operator or a device of the user bars them."""
    offline_delivery: bool
    """Deferred messages are pushed when the user is there again (DEF-06)."""
    visible: bool
    """Others may see the user (PRS-02)."""
    session_history: bool
    """Sessions are recorded without further request (HIS-07)."""
    message_history: bool
    """Pager mode and large messages are recorded without further request (HIS-07)."""
    rules: Rules | None
    """Parsed IM rules (XDM-03), None when the user has none."""


class Miss(enum.Enum):
    """The answer of `cached` when memory does not know; ask `facts`."""

    MISS = "miss"


MISS: Final = Miss.MISS

Results = list[Result]

_COLUMNS = (
    "users.address, im_service, im_allowed, pager_max_size, large_max_size, content_types, "
    "willing, users.pager_barred, users.session_barred"
)
SETTABLE = ("im_service", "im_allowed", "willing", "pager_barred", "session_barred")
"""Keys with yes or no, for the operator."""
SETTABLE_OR_DEFAULT = ("pager_max_size", "large_max_size", "content_types")
"""Keys with a value of their own or None for the service-wide one."""


def account(address: str) -> tuple[str, str]:
    """Username and domain of a canonical user address. ValueError when it cannot be a subscriber."""
    domain = domain_of(address)
    username = address.removeprefix("sip:").partition("@")[0]
    if domain is None or address != f"sip:{username}@{domain}" or ":" in username:
        raise ValueError(f"{address} is not the address of a user: sip:name@domain")
    if len(username) > LONGEST_USERNAME:
        raise ValueError(f"the name has {len(username)} characters, at most {LONGEST_USERNAME} fit")
    return username, domain


class Users:
    """The table of users, with a cache that is right on the next request after any change (SET-07)."""

    def __init__(self, database: Database, config: Config, lists: Lists, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._config = config
        self._lists = lists
        self._clock = clock
        self._facts: OrderedDict[str, UserFacts | None] = OrderedDict()
        self._revision: int | None = None
        self._generation = 0

    def cached(self, address: str) -> UserFacts | Literal[Miss.MISS] | None:
        """Facts about a canonical address from memory alone: None is nobody, MISS is not known here.

        Costs a few microseconds on SQLite (one look at shared memory for changes), less on PostgreSQL.
        """
        revision = self._database.revision()
        if revision != self._revision or revision is None:
            self._forget_all(revision)
            return MISS
        return self._facts.get(address, MISS)

    async def facts(self, address: str) -> UserFacts | None:
        """Facts about a canonical address, None when nobody has it. From memory when nothing changed."""
        known = self.cached(address)
        if known is not MISS:
            return known
        generation = self._generation
        rows = await self._database.read(
            f"SELECT {_COLUMNS}, document, {SETTINGS_COLUMNS} FROM users "
            "LEFT JOIN im_rules ON im_rules.address = users.address "
            "LEFT JOIN publication ON publication.address = users.address AND publication.expires_at > ? "
            "WHERE users.address = ? ORDER BY publication.sequence",
            self._clock(),
            address,
        )
        found = await self._with_lists(self._as_facts(rows)) if rows else None
        # A change while the row was being read may not be in it: then it is not kept.
        if generation == self._generation and self._database.revision() == self._revision is not None:
            self._facts[address] = found
            if len(self._facts) > MAX_CACHED_USERS:
                self._facts.popitem(last=False)
        return found

    async def _with_lists(self, facts: UserFacts) -> UserFacts:
        """The facts, with who is on the lists that the user's rules refer to."""  # XDM-04
        rules = facts.rules
        if rules is None or not rules.external_lists:
            return facts
        lists = await self._lists.look_up(rules.external_lists)
        found = {anchor: one.addresses for anchor, one in lists.items()}
        return msgspec.structs.replace(facts, rules=msgspec.structs.replace(rules, lists=found))

    async def get(self, address: str) -> User | None:
        """The user's record, from the database."""
        rows = await self._database.read(f"SELECT {_COLUMNS} FROM users WHERE address = ?", address)
        return _as_user(rows[0]) if rows else None

    async def list(self) -> list[User]:
        """All users by address."""
        return [_as_user(row) for row in await self._database.read(f"SELECT {_COLUMNS} FROM users ORDER BY address")]

    async def add(self, address: str, password: str) -> User:
        """Create a user with defaults. Conflict when it exists, AddressTaken when a group has the address, ValueError when
        it cannot be one."""
        user = User(address=canonical(address))
        await self._take(user.address, _insert(user), *credentials(*account(user.address), password))
        return user

    async def put(self, user: User, password: str | None = None) -> None:
        """Create or replace a user; without a password its credentials stay as they are. AddressTaken."""
        account(user.address)
        statements = [Statement("DELETE FROM users WHERE address = ?", (user.address,)), _insert(user)]
        await self._take(user.address, *statements, *(credentials(*account(user.address), password) if password else ()))

    async def set(self, address: str, /, **values: bool | int | str | None) -> User:
        """Change some fields of User. UnknownUser, ValueError for a field that cannot be set."""
        for name, value in values.items():
            _check_value(name, value)
        assignments = ", ".join(f"{name} = ?" for name in values)
        parameters = [int(value) if isinstance(value, bool) else value for value in values.values()]
        try:
            if values:
                await self.change(
                    address,
                    Statement(f"UPDATE users SET {assignments} WHERE address = ?", (*parameters, address), 1),
                )
        except Unmet:
            raise UnknownUser(address) from None
        user = await self.get(address)
        if user is None:
            raise UnknownUser(address)
        return user

    async def set_password(self, address: str, password: str) -> None:
        """Replace the credentials of a user. UnknownUser."""
        if await self.get(address) is None:
            raise UnknownUser(address)
        await self.change(address, *credentials(*account(address), password))

    async def delete(self, address: str) -> int:
        """Delete a user with all that is stored for it; how many deferred messages that was. UnknownUser."""
        username, domain = account(address)
        try:
            results = await self.change(
                address,
                Statement("DELETE FROM users WHERE address = ?", (address,), 1),
                Statement("DELETE FROM deferred_usage WHERE recipient = ?", (address,)),
                Statement("DELETE FROM deferred WHERE recipient = ? RETURNING content_path", (address,)),
                Statement("DELETE FROM im_rules WHERE address = ?", (address,)),
                Statement("DELETE FROM resource_lists WHERE owner = ?", (address,)),
                Statement("DELETE FROM registration WHERE address = ?", (address,)),
                Statement("DELETE FROM publication WHERE address = ?", (address,)),
                Statement("DELETE FROM subscriber WHERE username = ? AND domain = ?", (username, domain)),
            )
        except Unmet:
            raise UnknownUser(address) from None
        self._forget_all(None)  # the rules of others may refer to the lists of this one (XDM-04)
        paths = [row[0] for row in results[2].rows if row[0] is not None]
        await asyncio.to_thread(ContentFiles(self._config.state_dir).remove, paths)  # LRG-04
        return results[2].touched

    async def change(self, address: str, *statements: Statement) -> Results:
        """Write a unit that changes what `facts(address)` tells. Results and errors of Database.write."""
        try:
            *results, bumped = await self._database.write(*statements, BUMP_REVISION)
            if self._revision is not None and bumped.rows[0][0] == self._revision + 1:
                self._revision += 1  # the only change since was this one: the others' facts stay
            return results
        finally:
            self._generation += 1
            self._facts.pop(address, None)

    async def _take(self, address: str, *statements: Statement) -> None:
        """`change` that gives an address to a user. AddressTaken."""
        no_group = Statement("SELECT uri FROM im_group WHERE uri = ?", (address,), 0)
        try:
            await self.change(address, *statements, LOCK_REVISION, no_group)
        except Unmet:
            raise AddressTaken(address, "group") from None

    def _forget_all(self, revision: int | None) -> None:
        self._generation += 1
        self._facts.clear()
        self._revision = revision

    def _as_facts(self, rows: Sequence[Row]) -> UserFacts:
        """Facts of a user from its row, repeated for each publication, the last published last."""
        user, document = _as_user(rows[0]), rows[0][9]
        published = compose(read_settings(row[10:]) for row in rows)
        config = self._config
        own_types = None if user.content_types is None else parse_content_types(user.content_types)
        return UserFacts(
            address=user.address,
            im_service=user.im_service,
            im_allowed=user.im_allowed,
            pager_max_size=config.pager_max_size if user.pager_max_size is None else user.pager_max_size,
            large_max_size=config.large_max_size if user.large_max_size is None else user.large_max_size,
            content_types=config.content_types if own_types is None else own_types,
            willing=user.willing,
            pager_barred=user.pager_barred or bool(published.pager_barred),
            session_barred=user.session_barred or bool(published.session_barred),
            offline_delivery=_or_default(published.offline_delivery, config.settings_offline_delivery),
            visible=_or_default(published.visible, config.settings_visibility),
            session_history=_or_default(published.session_history, config.settings_history),
            message_history=_or_default(published.message_history, config.settings_history),
            rules=None if document is None else _read_rules(user.address, document),
        )


def _or_default(published: bool | None, default: bool) -> bool:
    return default if published is None else published  # SET-06


def _read_rules(address: str, document: bytes) -> Rules:
    try:
        return parse_rules(document)
    except RulesError as error:
        log.error("the stored IM rules of %s cannot be read, everyone is rejected: %s", address, error)
        return REJECT_EVERYONE


def _as_user(row: Row) -> User:
    return User(
        address=row[0],
        im_service=bool(row[1]),
        im_allowed=bool(row[2]),
        pager_max_size=row[3],
        large_max_size=row[4],
        content_types=row[5],
        willing=bool(row[6]),
        pager_barred=bool(row[7]),
        session_barred=bool(row[8]),
    )


def _insert(user: User) -> Statement:
    account(user.address)
    return Statement(
        "INSERT INTO users (address, im_service, im_allowed, pager_max_size, large_max_size, content_types, "
        "willing, pager_barred, session_barred) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            user.address,
            int(user.im_service),
            int(user.im_allowed),
            user.pager_max_size,
            user.large_max_size,
            user.content_types,
            int(user.willing),
            int(user.pager_barred),
            int(user.session_barred),
        ),
    )


def _check_value(name: str, value: bool | int | str | None) -> None:
    if name in SETTABLE:
        if not isinstance(value, bool):
            raise ValueError(f"{name} is yes or no")
    elif name not in SETTABLE_OR_DEFAULT:
        raise ValueError(f"{name} cannot be set")
    elif name == "content_types":
        if value is not None:
            try:
                parse_content_types(str(value))
            except ValueError:
                raise ValueError(f"content_types: {value!r} is not a list such as text/*,image/png") from None
    elif value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_SIZE):
        raise ValueError(f"{name} is a number of bytes, at most {LARGEST_SIZE}")
