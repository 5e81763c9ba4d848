"""A `KSR` that behaves: headers are read from real bytes, transactions are created once, suspended and resumed, replies
carry the headers that were appended.

`test_ksr_fake.py` makes the same calls to this and to a real Kamailio and compares the answers; the signatures are compared
with the real build's own list. What the fake does not know raises `UnknownToTheFake`, which no `except Exception` hides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

from tests.kemi.ksr_message import Message

SIGNATURES = {
    "err": "str",
    "warn": "str",
    "notice": "str",
    "seturi": "str",
    "isflagset": "int",
    "isbflagset": "int",
    "isbiflagset": "int, int",
    "setbflag": "int",
    "resetbflag": "int",
    "pv.get": "str",
    "pv.sets": "str, str",
    "pv.seti": "str, int",
    "hdr.append": "str",
    "hdr.append_to_reply": "str",
    "htable.sht_get": "str, str",
    "htable.sht_iterator_end": "str",
    "htable.sht_iterator_next": "str",
    "htable.sht_iterator_start": "str, str",
    "htable.sht_seti": "str, str, int",
    "htable.sht_sets": "str, str, str",
    "jsonrpcs.exec": "str",
    "mqueue.mq_add": "str, str, str",
    "mqueue.mq_fetch": "str",
    "registrar.lookup": "str",
    "registrar.save": "str, int",
    "sl.send_reply": "int, str",
    "textops.remove_hf": "str",
    "textopsx.msg_apply_changes": "none",
    "tm.t_newtran": "none",
    "tm.t_on_failure": "str",
    "tm.t_set_fr": "int, int",
    "tm.t_uac_send": "str, str, str, str, str, str",
    "tmx.t_cancel_callid": "str, str, int",
    "tmx.t_suspend": "none",
}
"""Parameters of every function the fake has, in the words of Kamailio's `app_python.api_list`."""
TABLES = ("im_facts", "im_legs", "im_link", "im_waiting")
IN_TRANSACTION = -10
"""What t_newtran answers when the request has its transaction already."""
_HEADERS = re.compile(r"\$\(hdr\(([\w-]+)\)\[(\d+|\*)\]\)")
_NAMED = re.compile(r"\$(\w+)\((.*)\)|\$\((\w+)\((.*)\)\)")
_URI = re.compile(rb"<([^>]*)>")
_PARAMETERS = re.compile(r";.*")
_TAG = re.compile(rb";\s*tag=([^;\s]+)")


class UnknownToTheFake(BaseException):
    """The code under test asked for something that the fake does not imitate."""


@dataclass
class Transaction:
    """What tm keeps of a request."""

    identity: tuple[int, int]
    message: Message
    avps: dict[str, bytes | int]
    suspended: bool = False
    replied: int = 0
    """Final status that was sent, 0 for none."""
    on_failure: str = ""
    timeouts: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Reply:
    """A response that left."""

    status: int
    reason: str
    headers: tuple[str, ...]
    call_id: str


class FakeKamailio:
    """One Kamailio process with the memory it shares with the others. `ksr` takes the place of the module `KSR`."""

    def __init__(
        self, settings: dict[str, str], tables: Sequence[str] = ("im_facts", "im_legs", "im_link", "im_waiting")
    ) -> None:
        self.settings = settings
        self.tables: dict[str, dict[str, str | int]] = {name: {} for name in tables}
        self._iterators: dict[str, tuple[Iterator[tuple[str, str | int]], tuple[str, str | int] | None]] = {}
        self.queues: dict[str, list[str]] = {"im_trace": []}
        self.bindings: dict[str, list[tuple[str, int]]] = {}
        """Contact and branch flags of each binding of an address, in the order of their preference."""
        self.replies: list[Reply] = []
        self.log: list[tuple[str, str]] = []
        self.rpc: list[str] = []
        self.transactions: dict[bytes, Transaction] = {}
        self.variables: dict[str, bytes | int] = {}
        """`$var`: they live as long as the process and outlast a message."""
        self.newtran_fails = False
        self.suspend_fails = False
        self.save_fails = False
        self.uac_fails = False
        self.sent_requests: list[tuple[str, ...]] = []
        self.cancelled: list[tuple[str, str, int]] = []
        self.on_call: Callable[[str], None] = lambda _: None
        """Called with the name of every function; a test raises from it."""
        self.message: Message | None = None
        self._avps: dict[str, bytes | int] = {}
        self._transaction: Transaction | None = None
        self._reply_headers: list[str] = []
        self._dequeued = ""
        self.saved: list[tuple[str, int]] = []
        """Contact header and branch flags of each save."""
        self.branch_flags = 0
        """Those of the Request-URI, as they were set."""
        self._changed: list[tuple[str, bytes]] | None = None
        """The headers as they are once the changes are applied."""
        self._branches: list[tuple[str, int]] = []
        """Contact and flags of the branches that lookup has set; the first is the Request-URI."""
        self.ksr = self._namespace()

    # ---- What the network and the native routes do ----

    def receive(self, raw: bytes, **how: Any) -> Message:
        """A request comes in: nothing of the one before is left but `$var`."""
        self.message = Message(raw, **how)
        self._avps, self._transaction, self._reply_headers, self._branches = {}, None, [], []
        self.branch_flags, self._changed = 0, None
        return self.message

    def resume(self, identity: tuple[int, int]) -> bool:
        """Native t_continue: True when the transaction was suspended; its message and AVPs are current again."""
        found = next((one for one in self.transactions.values() if one.identity == identity and one.suspended), None)
        if found is None:
            return False
        found.suspended = False
        self.message, self._transaction, self._avps, self._reply_headers = found.message, found, found.avps, []
        self._branches = []
        return True

    def set_avp(self, name: str, value: str | int) -> None:
        """`$avp(name) = value` of the native configuration."""
        self._avps[name] = value.encode() if isinstance(value, str) else value

    def set_var(self, name: str, value: str | int) -> None:
        """`$var(name) = value` of the native configuration."""
        self.variables[name] = value.encode() if isinstance(value, str) else value

    def avp(self, name: str) -> Any:
        """`$avp(name)` as Python sees it."""
        return self.ksr.pv.get(f"$avp({name})")

    def var(self, name: str) -> Any:
        """`$var(name)` as Python sees it."""
        return self.ksr.pv.get(f"$var({name})")

    @property
    def transaction(self) -> Transaction:
        """The transaction of the current request."""
        assert self._transaction is not None
        return self._transaction

    def logged(self, level: str) -> str:
        """All lines of one level."""
        return "".join(line for logged_level, line in self.log if logged_level == level)

    # ---- KSR ----

    def _namespace(self) -> SimpleNamespace:
        top = SimpleNamespace()
        for name, parameters in SIGNATURES.items():
            module, _, function = name.rpartition(".")
            where = top
            if module:
                where = vars(top).setdefault(module, SimpleNamespace())
            setattr(where, function, self._checked(name, parameters, getattr(self, "_" + name.replace(".", "_"))))
        return top

    def _checked(self, name: str, parameters: str, function: Callable[..., Any]) -> Callable[..., Any]:
        kinds = [] if parameters == "none" else parameters.split(", ")

        def call(*arguments: Any) -> Any:
            self.on_call(name)
            if kinds and (len(arguments) != len(kinds) or not all(map(_fits, kinds, arguments))):
                raise SystemError(f"<built-in function {name}> returned a result with an exception set")
            return function(*arguments)

        return call

    def _err(self, text: str) -> int:
        self.log.append(("err", text))
        return 0

    def _warn(self, text: str) -> int:
        self.log.append(("warn", text))
        return 0

    def _notice(self, text: str) -> int:
        self.log.append(("notice", text))
        return 0

    def _pv_get(self, name: str) -> Any:
        value = self._variable(name)
        return value.decode() if isinstance(value, bytes) else value  # UnicodeDecodeError like the real one

    def _pv_sets(self, name: str, value: str) -> bool:
        return self._set(name, value.encode())

    def _pv_seti(self, name: str, value: int) -> bool:
        return self._set(name, value)

    def _changes(self) -> list[tuple[str, bytes]]:
        assert self.message is not None
        if self._changed is None:
            self._changed = list(self.message.headers)
        return self._changed

    def _textops_remove_hf(self, name: str) -> int:
        self._changed = [header for header in self._changes() if header[0] != name.lower()]
        return 1

    def _hdr_append(self, line: str) -> int:
        name, _, value = line.partition(":")
        self._changes().append((name.lower(), value.strip().encode()))
        return 1

    def _textopsx_msg_apply_changes(self) -> int:
        assert self.message is not None
        self.message.headers, self._changed = self._changes(), None
        return 1

    def _hdr_append_to_reply(self, line: str) -> int:
        self._reply_headers.append(line)
        return 1

    def _htable_sht_get(self, table: str, key: str) -> str | int | None:
        return self.tables.get(table, {}).get(key)

    def _htable_sht_seti(self, table: str, key: str, value: int) -> int:
        if table not in self.tables:
            return -1
        self.tables[table][key] = value
        return 1

    def _htable_sht_iterator_start(self, name: str, table: str) -> int:
        if table not in self.tables:
            return -1
        self._iterators[name] = iter(list(self.tables[table].items())), None
        return 1

    def _htable_sht_iterator_next(self, name: str) -> int:
        items, _ = self._iterators[name]
        self._iterators[name] = items, (found := next(items, None))
        return 1 if found else -1

    def _htable_sht_iterator_end(self, name: str) -> int:
        self._iterators.pop(name, None)
        return 1

    def _htable_sht_sets(self, table: str, key: str, value: str) -> int:
        if table not in self.tables:
            return -1
        self.tables[table][key] = value
        return 1

    def _mqueue_mq_add(self, queue: str, key: str, value: str) -> int:
        if queue not in self.queues:
            return -1
        self.queues[queue].append(value)
        return 1

    def _mqueue_mq_fetch(self, queue: str) -> int:
        if not self.queues[queue]:
            return -2
        self._dequeued = self.queues[queue].pop(0)
        return 1

    def _seturi(self, uri: str) -> bool:
        assert self.message is not None
        self.message.request_uri = uri.encode()
        return True

    def _isflagset(self, flag: int) -> bool:
        assert self.message is not None
        return flag in self.message.flags

    def _setbflag(self, flag: int) -> bool:
        self.branch_flags |= 1 << flag
        return True

    def _resetbflag(self, flag: int) -> bool:
        self.branch_flags &= ~(1 << flag)
        return True

    def _isbflagset(self, flag: int) -> bool:
        return self._isbiflagset(flag, 0)

    def _isbiflagset(self, flag: int, branch: int) -> bool:
        return branch < len(self._branches) and bool(self._branches[branch][1] & 1 << flag)

    def _registrar_lookup(self, domain: str) -> int:
        assert self.message is not None and domain == "location"
        address = unquote(_PARAMETERS.sub("", self.message.request_uri.decode()))
        if address not in self.bindings:
            return -1
        self._branches = self.bindings[address]
        self.message.request_uri = self._branches[0][0].encode()
        return 1

    def _registrar_save(self, domain: str, flags: int) -> int:
        assert self.message is not None and domain == "location" and flags == 2
        self.saved.append((b", ".join(self.message.values("Contact")).decode(), self.branch_flags))
        return -1 if self.save_fails else 1

    def _jsonrpcs_exec(self, request: str) -> int:
        self.rpc.append(request)
        return 1

    def _sl_send_reply(self, status: int, reason: str) -> int:
        if self._transaction is not None:
            if self._transaction.replied:
                return -1
            self._transaction.replied = status
            self._transaction.suspended = False
        call_id = (self.message.value("Call-ID") or b"").decode("utf-8", "replace") if self.message else ""
        self.replies.append(Reply(status, reason, tuple(self._reply_headers), call_id))
        return 1

    def _tm_t_newtran(self) -> int:
        if self.newtran_fails:
            return -1
        if self._transaction is not None:
            return IN_TRANSACTION
        assert self.message is not None
        branch = self.message.value("Via") or b""
        if branch in self.transactions:
            return 0
        identity = (len(self.transactions) + 1, 2090702348 + len(self.transactions))
        self._transaction = Transaction(identity, self.message, self._avps)
        self.transactions[branch] = self._transaction
        return 1

    def _tm_t_on_failure(self, route: str) -> int:
        self.transaction.on_failure = route
        return 1

    def _tm_t_set_fr(self, invite: int, final: int) -> int:
        self.transaction.timeouts = (invite, final)
        return 1

    def _tm_t_uac_send(self, *parts: str) -> int:
        self.sent_requests.append(parts)
        return -1 if self.uac_fails else 1

    def _tmx_t_cancel_callid(self, call_id: str, cseq: str, flag: int) -> int:
        self.cancelled.append((call_id, cseq, flag))
        return 1

    def _tmx_t_suspend(self) -> int:
        if self.suspend_fails:
            return -1
        self.transaction.suspended = True
        return 1

    # ---- Pseudo-variables ----

    def _set(self, name: str, value: bytes | int) -> bool:
        found = re.fullmatch(r"\$(avp|var)\((\w+)\)", name)
        if found is None:
            raise UnknownToTheFake(f"to set {name}")
        (self._avps if found[1] == "avp" else self.variables)[found[2]] = value
        return True

    def _variable(self, name: str) -> bytes | int | None:
        if header := _HEADERS.fullmatch(name):
            return self._header(header[1], header[2])
        if named := _NAMED.fullmatch(name):
            return self._named(named[1] or named[3], named[2] or named[4])
        return self._plain(name)

    def _header(self, name: str, index: str) -> bytes | None:
        assert self.message is not None
        values = self.message.values(name)
        if index == "*":
            return b",".join(values) if values else None
        return values[int(index)] if int(index) < len(values) else None

    def _named(self, kind: str, name: str) -> bytes | int | None:
        match kind:
            case "hdr" if self.message is not None:
                return self.message.value(name)
            case "avp":
                return self._avps.get(name)
            case "var":
                return self.variables.get(name, 0)
            case "def":
                return self.settings[name].encode() if name in self.settings else None
            case "T" if name in ("id_index", "id_label"):
                return None if self._transaction is None else self._transaction.identity[name == "id_label"]
            case "shtitkey" | "shtitval" if name in self._iterators:
                entry = self._iterators[name][1]
                value = None if entry is None else entry[kind == "shtitval"]
                return value.encode() if isinstance(value, str) else value
            case "branch" if name == "count":
                return max(0, len(self._branches) - 1)
            case "mqv":
                return self._dequeued.encode()
        raise UnknownToTheFake(f"${kind}({name})")

    def _plain(self, name: str) -> bytes | int | None:
        message = self.message
        assert message is not None
        match name:
            case "$rm":
                return message.method
            case "$ru":
                return message.request_uri
            case "$ci":
                return message.value("Call-ID")
            case "$cs":
                return (message.value("CSeq") or b"").split()[0]
            case "$ft":
                return _first(_TAG, message.value("From"))
            case "$tt":
                return _first(_TAG, message.value("To"))
            case "$tu":
                return _first(_URI, message.value("To"))
            case "$ai":
                return _first(_URI, message.value("P-Asserted-Identity"))
            case "$bs":
                return len(message.body)
            case "$ml":
                return len(message.raw)
            case "$cT":
                return message.value("Content-Type")
            case "$pr":
                return message.transport.encode()
            case "$si":
                return message.source[0].encode()
            case "$sp":
                return message.source[1]
            case "$Rp":
                return 5060  # a request of a client; those of the worker come in elsewhere
            case "$rb":
                return message.body or None
            case "$mb":
                return message.raw
            case "$rs":
                return None
        raise UnknownToTheFake(name)


def _fits(kind: str, argument: object) -> bool:
    """Whether Kamailio's C side takes the argument: no NUL or surrogate in text, numbers of 32 bits."""
    if kind == "int":
        return isinstance(argument, int) and -(2**31) <= argument < 2**31
    return isinstance(argument, str) and "\0" not in argument and not any("\ud800" <= char <= "\udfff" for char in argument)


def _first(pattern: re.Pattern[bytes], value: bytes | None) -> bytes | None:
    found = None if value is None else pattern.search(value)
    return found[1] if found else None
