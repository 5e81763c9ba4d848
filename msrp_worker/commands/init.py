"""`init`: create or upgrade the database."""

from __future__ import annotations

import argparse
import asyncio

from msrp_worker.commands.common import run_with_store
from msrp_worker.config import Config
from msrp_worker.store import Store, prepare_store
from msrp_worker.store.migrations import MIGRATIONS

DEMO_USERS = ("alice", "bob", "carol", "dave")
DEMO_GROUP = "friends"
_DEMO_DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<group xmlns="urn:oma:xml:poc:list-service"
       xmlns:rl="urn:ietf:params:xml:ns:resource-lists"
       xmlns:cr="urn:ietf:params:xml:ns:common-policy">
  <list-service uri="sip:{group}@{domain}">
    <display-name>Friends</display-name>
    <list>
{entries}
    </list>
    <invite-members>true</invite-members>
    <max-participant-count>20</max-participant-count>
    <cr:ruleset>
      <cr:rule id="members">
        <cr:conditions>
          <is-list-member/>
        </cr:conditions>
        <cr:actions>
          <join-handling>true</join-handling>
          <allow-initiate-conference>true</allow-initiate-conference>
          <allow-invite-users-dynamically>true</allow-invite-users-dynamically>
          <allow-conference-state>true</allow-conference-state>
          <allow-anonymity>false</allow-anonymity>
        </cr:actions>
      </cr:rule>
    </cr:ruleset>
  </list-service>
</group>
"""
_DEMO_ENTRY = """\
      <entry uri="sip:{name}@{domain}">
        <rl:display-name>{shown}</rl:display-name>
      </entry>"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("init", help="create the database, or bring it to this version")
    parser.set_defaults(run=_init)


def _init(arguments: argparse.Namespace, config: Config) -> int:
    config.state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    steps = asyncio.run(prepare_store(config))
    where = config.database_shown
    if not steps:
        print(f"The database {where} is up to date.")
        return 0
    is_new = steps[0] == MIGRATIONS[0].name
    print(f"{'Created' if is_new else 'Upgraded'} the database {where}: {', '.join(steps)}.")
    if is_new and config.demo:
        run_with_store(config, lambda store: _add_demo_data(store, config))
        names = ", ".join(DEMO_USERS)
        print(f"Demo data: users {names} of {config.domain}, password: the name followed by -secret.")
        print(f"Demo data: the group sip:{DEMO_GROUP}@{config.domain} with all of them.")
        print("IM_DEMO=0 leaves demo data out of a new database; `user delete` and `group delete` remove it.")
    elif is_new:
        print("No demo data, as IM_DEMO is off; `user add NAME` creates a user.")
    return 0


async def _add_demo_data(store: Store, config: Config) -> None:
    for name in DEMO_USERS:
        await store.users.add(f"sip:{name}@{config.domain}", f"{name}-secret")
    entries = (_DEMO_ENTRY.format(name=name, domain=config.domain, shown=name.capitalize()) for name in DEMO_USERS)
    document = _DEMO_DOCUMENT.format(group=DEMO_GROUP, domain=config.domain, entries="\n".join(entries))
    await store.groups.put(f"sip:{DEMO_GROUP}@{config.domain}", document.encode())
