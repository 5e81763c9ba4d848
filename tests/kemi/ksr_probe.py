"""Calls that are made once to the real `KSR`, inside a Kamailio, and once to the fake: both must answer alike.

Standard library only, because one side runs inside Kamailio.
"""

from __future__ import annotations

import json
import socket
from typing import Any

CONTENT = b"hi \xff\xfe\x00 there"
ADDRESS = "sip:bob@example.com"
CAPABLE = 1 << 20


def message(call_id: str, port: int) -> bytes:
    """A MESSAGE with compact names, repeated headers, and bytes that are not UTF-8 in a header and in the body."""
    head = (
        f"MESSAGE {ADDRESS};session=1-1 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{call_id}\r\n"
        'Max-Forwards: 5\r\nf: "A" <sip:alice@example.com>;tag=ft\r\n'
        f"t: <{ADDRESS}>\r\ni: {call_id}\r\nCSeq: 7 MESSAGE\r\n"
        "Accept-Contact: *;audio\r\na: *;+g.oma.sip-im,*;text\r\n"
        "Privacy: id\r\ns: Lunch\r\nm: <sip:a@h>, <sip:b@h>;x=1\r\nX-Empty:\r\n"
        "P-Asserted-Identity: <sip:alice@example.com>\r\nc: text/plain\r\n"
        f"l: {len(CONTENT)}\r\n"
    )
    return head.encode() + b"X-Latin: caf\xe9\r\n\r\n" + CONTENT


VARIABLES = (
    *("$rm", "$ru", "$ci", "$cs", "$ft", "$tt", "$tu", "$ai", "$bs", "$ml", "$cT", "$pr", "$si", "$rb", "$mb", "$rs"),
    *("$hdr(Date)", "$hdr(From)", "$hdr(f)", "$hdr(To)", "$hdr(Subject)", "$hdr(s)", "$hdr(X-Latin)", "$hdr(X-Empty)"),
    *("$(hdr(Accept-Contact)[0])", "$(hdr(Accept-Contact)[1])", "$(hdr(Accept-Contact)[2])", "$(hdr(a)[1])"),
    *("$(hdr(Accept-Contact)[*])", "$(hdr(a)[*])", "$(hdr(Privacy)[*])", "$(hdr(Nope)[*])", "$(hdr(X-Latin)[*])"),
    *("$(hdr(Contact)[0])", "$(hdr(Contact)[1])", "$(hdr(m)[0])", "$(hdr(Privacy)[0])"),
    *("$avp(none)", "$var(none)", "$def(IM_DOMAIN)", "$def(IM_STATE_DIR)", "$def(NOPE)"),
    *("$T(id_index)", "$T(id_label)"),
)
Call = tuple[Any, ...]
FIRST: tuple[Call, ...] = (
    *(("pv.get", name) for name in VARIABLES),
    ("pv.sets", "$avp(x)", "text"),
    ("pv.get", "$avp(x)"),
    ("pv.sets", "$avp(x)", "é😀"),
    ("pv.get", "$avp(x)"),
    ("pv.seti", "$avp(x)", 7),
    ("pv.get", "$avp(x)"),
    ("pv.sets", "$avp(x)", ""),
    ("pv.get", "$avp(x)"),
    ("pv.seti", "$avp(x)", 2**31 - 1),
    ("pv.seti", "$avp(x)", 2**31),
    ("pv.get", "$avp(x)"),
    ("pv.sets", "$avp(y)", "a\0b"),
    ("pv.sets", "$avp(y)", "a\ud800b"),
    ("pv.sets", "$avp(y)", b"ab"),
    ("pv.sets", "$avp(y)", 5),
    ("pv.sets", "$avp(y)", None),
    ("pv.sets", "$avp(y)"),
    ("pv.seti", "$avp(y)", "5"),
    ("pv.get", "$avp(y)"),
    ("pv.sets", "$var(x)", "text"),
    ("pv.get", "$var(x)"),
    ("htable.sht_get", "im_link", "beat"),
    ("htable.sht_seti", "im_link", "beat", 5),
    ("htable.sht_get", "im_link", "beat"),
    ("htable.sht_get", "im_link", "beat"),
    ("htable.sht_get", "nowhere", "beat"),
    ("htable.sht_seti", "nowhere", "beat", 1),
    ("htable.sht_sets", "im_link", "text", "a é"),
    ("htable.sht_get", "im_link", "text"),
    ("htable.sht_sets", "nowhere", "text", "a"),
    ("htable.sht_iterator_start", "i", "nowhere"),
    ("htable.sht_seti", "im_waiting", "12:34", 7),
    ("htable.sht_iterator_start", "i", "im_waiting"),
    ("htable.sht_iterator_next", "i"),
    ("pv.get", "$shtitkey(i)"),
    ("pv.get", "$shtitval(i)"),
    ("htable.sht_iterator_next", "i"),
    ("htable.sht_iterator_end", "i"),
    ("htable.sht_get", "im_waiting", "12:34"),
    ("mqueue.mq_fetch", "im_trace"),
    ("mqueue.mq_add", "im_trace", "-", "one\ttwo"),
    ("mqueue.mq_add", "im_trace", "-", "three"),
    ("mqueue.mq_add", "nowhere", "-", "three"),
    ("mqueue.mq_fetch", "im_trace"),
    ("pv.get", "$mqv(im_trace)"),
    ("mqueue.mq_fetch", "im_trace"),
    ("pv.get", "$mqv(im_trace)"),
    ("mqueue.mq_fetch", "im_trace"),
    ("notice", "a line\n"),
    ("notice", "a\0b"),
    ("err", "a\ud800b"),
    ("warn",),
    ("isflagset", 5),
    ("isbflagset", 20),
    ("seturi", "sip:nobody@example.com"),
    ("registrar.lookup", "location"),
    ("seturi", f"{ADDRESS};session=1-1"),
    ("pv.get", "$ru"),
    ("registrar.lookup", "location"),
    ("pv.get", "$ru"),
    ("pv.get", "$branch(count)"),
    ("isbflagset", 20),
    ("isbflagset", 21),
    ("isbiflagset", 20, 1),
    ("isbiflagset", 21, 1),
    ("isbiflagset", 20, 2),
    ("tm.t_newtran",),
    ("pv.get", "$T(id_index)"),
    ("pv.get", "$T(id_label)"),
    ("tm.t_newtran",),
    ("tm.t_set_fr", 0, 30000),
    ("tm.t_on_failure", "IM_UNANSWERED"),
    ("tmx.t_suspend",),
)
AGAIN: tuple[Call, ...] = (("tm.t_newtran",),)
REPLIED: tuple[Call, ...] = (
    ("seturi", "sip:%62ob@example.com"),
    ("registrar.lookup", "location"),
    ("pv.get", "$ru"),
    ("isbflagset", 20),
    ("tm.t_newtran",),
    ("hdr.append_to_reply", "X-Told: é\r\n"),
    ("sl.send_reply", 403, "Forbidden"),
    ("sl.send_reply", 500, "Again"),
)
STATELESS: tuple[Call, ...] = (
    ("setbflag", 20),
    ("resetbflag", 21),
    ("textops.remove_hf", "X-Nowhere"),
    ("textops.remove_hf", "Contact"),
    ("hdr.append", "Contact: <sip:c@h>;q=0.1\r\n"),
    ("pv.get", "$(hdr(Contact)[*])"),
    ("textopsx.msg_apply_changes",),
    ("pv.get", "$(hdr(Contact)[*])"),
    ("registrar.save", "location", 2),
    ("hdr.append_to_reply", "X-Told: once\r\n"),
    ("sl.send_reply", 480, "Away"),
)
STAGES = (FIRST, AGAIN, REPLIED, STATELESS)
"""What is called for each of four messages; the second is the first one once more."""
CALL_IDS = ("one", "one", "two", "three")
_DIFFERENT_EACH_TIME = frozenset({"$T(id_index)", "$T(id_label)"})


def observe(ksr: Any, calls: tuple[Call, ...]) -> list[list[Any]]:
    """Make the calls and note each outcome as something that JSON can carry."""
    return [_outcome(ksr, *call) for call in calls]


def _outcome(ksr: Any, name: str, *arguments: Any) -> list[Any]:
    function = ksr
    for part in name.split("."):
        function = getattr(function, part)
    call = f"{name}{arguments!r}".encode("ascii", "backslashreplace").decode()
    try:
        value = function(*arguments)
    except UnicodeDecodeError as error:
        return [call, "UnicodeDecodeError", bytes(error.object).hex()]
    except Exception as error:
        return [call, type(error).__name__]
    kind = type(value).__name__
    return [call, kind] if value is not None and arguments and arguments[0] in _DIFFERENT_EACH_TIME else [call, kind, value]


class Probe:
    """What the scratch Kamailio runs: tells the test, in datagrams, what `KSR` has and how it answers."""

    def __init__(self, ksr: Any, path: str) -> None:
        self._ksr = ksr
        self._path = path
        self._seen = 0

    def child_init(self, rank: int) -> int:
        """The one SIP process is up."""
        if rank == 1:
            self._tell({name: self._names(name) for name in dir(self._ksr) if not name.startswith("__")})
        return 0

    def observed(self, _: Any) -> int:
        """One of the four messages."""
        outcomes = observe(self._ksr, STAGES[self._seen])
        self._seen += 1
        self._tell(outcomes)
        return 1

    def _names(self, name: str) -> list[str]:
        return [part for part in dir(getattr(self._ksr, name)) if not part.startswith("__")]

    def _tell(self, value: Any) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
            teller.sendto(json.dumps(value).encode(), self._path)
