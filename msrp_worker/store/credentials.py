"""What the store keeps of passwords: digest secrets, never the password (COR-07, XDM-06)."""

from __future__ import annotations

import hashlib

import msgspec

from msrp_worker.store.database import Database, Statement

_FIND = "SELECT {} FROM subscriber WHERE username = ? AND domain = ?"
_OF_NAME = _FIND.format("ha1, ha1_sha256")
_OF_ADDRESS = _FIND.format("ha1b, ha1b_sha256")
_WITHOUT_SHA_256 = "SELECT 1 FROM subscriber WHERE ha1_sha256 = '' LIMIT 1"


class Secrets(msgspec.Struct, frozen=True):
    """HA1 of a user for each algorithm (RFC 7616 section 3.4.2), empty where there is none."""

    md5: str = ""
    sha256: str = ""


class Credentials:
    """The secrets of all users. They are read from the database each time: a changed password counts at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def secrets(self, username: str, domain: str, *, with_domain: bool = False) -> Secrets:
        """Of a user whose client names itself `username`, or `username@domain`; empty ones for nobody. StoreError."""
        rows = await self._database.read(_OF_ADDRESS if with_domain else _OF_NAME, username, domain)
        return Secrets(*rows[0]) if rows else Secrets()

    async def all_with_sha256(self) -> bool:
        """Whether everybody can use SHA-256: then it may be offered to all, and nothing is told about anybody by it."""
        return not await self._database.read(_WITHOUT_SHA_256)


def digest_ha1(username: str, realm: str, password: str, algorithm: str = "md5") -> str:
    """HA1 of RFC 7616 section 3.4.2. Kamailio's auth_db reads the one with MD5."""
    return hashlib.new(algorithm, f"{username}:{realm}:{password}".encode(), usedforsecurity=False).hexdigest()


def credentials(username: str, domain: str, password: str) -> list[Statement]:
    """The subscriber row that Kamailio checks (COR-07). ValueError for an empty password: it lets all in."""
    if not password:
        raise ValueError("the password is empty")
    address = f"{username}@{domain}"
    hashes = [
        digest_ha1(name, domain, password, algorithm) for algorithm in ("md5", "sha256") for name in (username, address)
    ]
    return [
        Statement("DELETE FROM subscriber WHERE username = ? AND domain = ?", (username, domain)),
        Statement(
            "INSERT INTO subscriber (username, domain, password, ha1, ha1b, ha1_sha256, ha1b_sha256) "
            "VALUES (?, ?, '', ?, ?, ?, ?)",
            (username, domain, *hashes),
        ),
    ]
