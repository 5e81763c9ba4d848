"""Users, rules, groups, deferred messages, registrations, SIP legs and the trace, in SQLite or PostgreSQL."""

from msrp_worker.store.deferred import Deferred, DeferredEntry, DeferredMessage, NewDeferred, Usage
from msrp_worker.store.errors import (
    AddressTaken,
    Conflict,
    PublicationTooBrief,
    QuotaExceeded,
    SchemaError,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreUnavailable,
    UnknownTag,
    UnknownUser,
    Unmet,
)
from msrp_worker.store.groups import GroupDocument, Groups
from msrp_worker.store.legs import LegRecord, Legs
from msrp_worker.store.settings import Effective, Grant
from msrp_worker.store.store import Store, open_store, prepare_store
from msrp_worker.store.trace import TraceEvent
from msrp_worker.store.users import MISS, Miss, User, UserFacts

__all__ = [
    "MISS",
    "AddressTaken",
    "Conflict",
    "Deferred",
    "DeferredEntry",
    "DeferredMessage",
    "Effective",
    "Grant",
    "GroupDocument",
    "Groups",
    "LegRecord",
    "Legs",
    "Miss",
    "NewDeferred",
    "PublicationTooBrief",
    "QuotaExceeded",
    "SchemaError",
    "Store",
    "StoreBusy",
    "StoreClosed",
    "StoreError",
    "StoreUnavailable",
    "TraceEvent",
    "UnknownTag",
    "UnknownUser",
    "Unmet",
    "Usage",
    "User",
    "UserFacts",
    "open_store",
    "prepare_store",
]
