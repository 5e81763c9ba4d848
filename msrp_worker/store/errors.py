"""How work with the store fails. Everything raised by the store on purpose is a StoreError."""

from __future__ import annotations


class StoreError(Exception):
    """Base of all errors of the store."""


class StoreBusy(StoreError):
    """Too much waits to be written already; nothing was done, the caller may refuse or try again."""


class StoreUnavailable(StoreError):
    """Disk full, database locked, connection lost: the unit is not known to be stored."""


class StoreClosed(StoreUnavailable):
    """The store was closed before the work was done."""


class SchemaError(StoreError):
    """The database has no schema, an older one, or one newer than this program."""


class Conflict(StoreError):
    """A constraint of the database refused the unit; nothing of it was done."""


class AddressTaken(Conflict):
    """A group cannot have the address of a user, nor a user that of a group (XDM-02)."""

    def __init__(self, address: str, kind: str) -> None:
        super().__init__(f"{address} is the address of a {kind}")
        self.address = address


class Unmet(StoreError):
    """A statement with `expect_rows` touched another number of rows; the whole unit was rolled back."""

    def __init__(self, index: int) -> None:
        super().__init__(f"statement {index} of the unit did not touch the expected number of rows")
        self.index = index


class QuotaExceeded(StoreError):
    """The recipient's deferred messages are at their limit (DEF-11); nothing was stored."""


class UnknownUser(StoreError):
    """No user has this address."""

    def __init__(self, address: str) -> None:
        super().__init__(f"no user {address}")
        self.address = address


class UnknownTag(StoreError):
    """The user has no live publication with this entity-tag (RFC 3903: 412)."""

    def __init__(self, etag: str) -> None:
        super().__init__(f"no publication has the entity-tag {etag}")


class PublicationTooBrief(StoreError):
    """Settings are not published for so short a time (RFC 3903: 423)."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"settings are published for at least {seconds} s")
        self.seconds = seconds
