"""The bindings of users in usrloc: which marks a REGISTER gives them, and which of them a request may go to. Touches `KSR`.

A mark is a branch flag that usrloc keeps with the binding: the registrar forgets feature tags, and marks last (COR-07).
"""

from __future__ import annotations

from collections.abc import Mapping

import KSR

from kemi.ksr import number, read
from kemi.printable import sent_safely
from kemi.sip_values import Mark, Marks, contacts_by_marks

SAVE_WITHOUT_REPLY = 0x02
"""Flag of registrar's save()."""

Flags = Mapping[Mark, int]
"""Number of each mark's branch flag."""


def registers_for_im() -> bool:
    """Whether a contact of the REGISTER is IM-capable (COR-07)."""
    return any(marks for marks, _ in contacts_by_marks(read("$(hdr(Contact)[*])")))


def mark_contacts(flags: Flags) -> bool:
    """Give the bindings of the REGISTER the marks of what its contacts take (COR-07, LRG-08, ADV-03). False: it failed.

    save() marks all contacts of a request alike. So those of each set of marks are saved by themselves; the save of the
    operator's configuration finds the last ones, and answers for all (COR-10).
    """
    *others, (marks, contacts) = contacts_by_marks(read("$(hdr(Contact)[*])"))
    for other_marks, other_contacts in others:
        _mark(flags, other_marks)
        if not _only(other_contacts) or KSR.registrar.save("location", SAVE_WITHOUT_REPLY) < 0:
            return False
    _mark(flags, marks)
    return not others or _only(contacts)


def look_up(flags: Flags, uri: str, *, large: bool, advertisement: bool) -> tuple[bool, bool]:
    """Set the branches to the bindings of `uri`; what route[IM_BRANCH] needs to know is left in `$avp`.

    Returns whether one of them may get the request; and whether there are IM-capable ones (COR-07), but none that takes
    group advertisements where the request asks for that (ADV-03). A large message goes to those that say they take it,
    where there are any (LRG-08).
    """
    KSR.seturi(uri)
    if KSR.registrar.lookup("location") < 0:
        return False, False
    KSR.pv.seti("$avp(im_large)", int(large and _any_branch(flags, Mark.LARGE)))
    capable = _any_branch(flags, Mark.CAPABLE)
    if not advertisement:
        return capable, False
    KSR.pv.seti("$avp(im_advertisement)", 1)
    takes_it = _any_branch(flags, Mark.ADVERTISEMENT)
    return takes_it, capable and not takes_it


def _mark(flags: Flags, marks: Marks) -> None:
    for mark, flag in flags.items():
        (KSR.setbflag if mark in marks else KSR.resetbflag)(flag)


def _only(contacts: str) -> bool:
    """Let these be the contacts of the REGISTER."""
    KSR.textops.remove_hf("Contact")
    KSR.hdr.append(f"Contact: {sent_safely(contacts)}\r\n")
    return bool(KSR.textopsx.msg_apply_changes() > 0)


def _any_branch(flags: Flags, mark: Mark) -> bool:
    flag = flags[mark]
    if KSR.isbflagset(flag) > 0:
        return True
    return any(KSR.isbiflagset(flag, branch) > 0 for branch in range(1, number("$branch(count)") + 1))
