"""`session`: the IM sessions of the running worker, and an end to them (CNF-29, PFS-09)."""

from __future__ import annotations

import argparse

from msrp_worker.commands.common import CommandError, NotDone, print_json, print_table, shown_time
from msrp_worker.commands.worker import Worker
from msrp_worker.config import Config
from msrp_worker.session_packets import (
    LONGEST_REASON,
    ListSessions,
    ParticipantInfo,
    Released,
    ReleaseSession,
    SessionDetail,
    SessionInfo,
    SessionPage,
    ShowSession,
)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser("session", help="list, show, release IM sessions of the running worker")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="show the sessions there are, in the order in which they began")
    listing.set_defaults(run=_list)
    show = actions.add_parser("show", help="show one session with all its participants")
    show.add_argument("identity", metavar="ID", help="identity as listed, its part before @, or the group's address")
    show.set_defaults(run=_show)
    for one in (listing, show):
        one.add_argument("--json", action="store_true")
        one.add_argument("--reveal", action="store_true", help="with the addresses of anonymous participants; it is logged")
    release = actions.add_parser("release", help="end a session: BYE to everybody in it")
    release.add_argument("identity", metavar="ID")
    release.add_argument("--reason", metavar="TEXT", default="", help="told to the participants")
    release.set_defaults(run=_release)


def _list(arguments: argparse.Namespace, config: Config) -> int:
    found: list[SessionInfo] = []
    with Worker(config) as worker:
        while True:
            page = worker.ask(ListSessions(found[-1].number if found else 0, arguments.reveal))
            assert isinstance(page, SessionPage)
            found += page.sessions
            if not page.more:
                break
    if arguments.json:
        print_json([_session(one) for one in found])
        return 0
    print_table(
        ("kind", "identity", "began", "participants", "invited", "messages", "idle", "group or focus", "who"),
        (
            (
                one.kind,
                one.identity,
                shown_time(one.began),
                one.participants,
                one.invited,
                one.messages,
                one.idle,
                one.group or "-",
                _who(one),
            )
            for one in found
        ),
    )
    return 0


def _show(arguments: argparse.Namespace, config: Config) -> int:
    found: list[ParticipantInfo] = []
    with Worker(config) as worker:
        while True:
            after = found[-1].number if found else 0
            page = worker.ask(ShowSession(arguments.identity, after, arguments.reveal))
            if not isinstance(page, SessionDetail):
                raise _unknown(arguments.identity)
            found += page.participants
            if not page.more:
                break
    one = page.session
    if arguments.json:
        seats = [{name: getattr(seat, name) for name in seat.__struct_fields__ if name != "number"} for seat in found]
        print_json({**_session(one), "who": seats})
        return 0
    print(f"{one.kind} {one.identity}")
    if one.group:
        print(f"of {one.group}")
    print(f"begun by {one.initiator} at {shown_time(one.began)}")
    print(f"{one.participants} participants, {one.invited} invited, {one.messages} messages, idle for {one.idle} s")
    print_table(
        ("address", "shown as", "name", "status", "joined"),
        ((seat.address, seat.shown_as, seat.name or "-", seat.status, seat.joined) for seat in found),
    )
    return 0


def _release(arguments: argparse.Namespace, config: Config) -> int:
    reason = arguments.reason
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise CommandError(f"the reason is one line of at most {LONGEST_REASON} characters")
    with Worker(config) as worker:
        answer = worker.ask(ReleaseSession(arguments.identity, reason))
    if not isinstance(answer, Released):
        raise _unknown(arguments.identity)
    one = answer.session
    print(f"Released the {one.kind} session {one.identity} with {one.participants} participants and {one.invited} invited.")
    return 0


def _unknown(identity: str) -> NotDone:
    return NotDone(f"no session {identity}, or not any more; `session list` shows them")


def _session(one: SessionInfo) -> dict[str, object]:
    """As JSON: without the number, which is for pages."""
    return {name: getattr(one, name) for name in one.__struct_fields__ if name != "number"}


def _who(one: SessionInfo) -> str:
    more = one.participants + one.invited - len(one.who)
    return ", ".join(one.who) + (f" and {more} more" if more > 0 else "")
