"""`settings show|set`: the IM service settings of this user (Appendix E), as this client has published them.

Nothing in the protocol reads them back: what was published last is kept in a file, with the entity-tag that lets
the next `set` change the same publication.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from .. import service_settings
from ..body import Body
from ..client import ImClient
from ..errors import SubscriptionError
from ..publication import Published
from ..service_settings import CONTENT_TYPE, ServiceSettings
from .options import FAILED, add_account, make_config

KEYS = tuple(one.name.replace("_", "-") for one in fields(ServiceSettings))
LIFETIME = 30 * 86_400
"""Seconds asked for a publication: nobody refreshes it after the command has ended. The server may grant less."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the file holds."""

    settings: ServiceSettings = field(default_factory=ServiceSettings)
    etag: str = ""
    entity: str = ""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("settings", help="IM service settings: barring, deferred delivery, visibility, history")
    actions = parser.add_subparsers(required=True, metavar="show|set")
    showing = actions.add_parser("show", help="what this client has published last")
    changing = actions.add_parser("set", help="change and publish settings")
    for one in (showing, changing):
        add_account(one)
        one.add_argument(
            "--state", type=Path, metavar="FILE", help="where they are kept (default: by identity, in XDG_STATE_HOME)"
        )
    showing.add_argument("--json", action="store_true", help="one JSON object")
    showing.set_defaults(run=run_show)
    changing.add_argument("change", nargs="+", metavar="KEY=on|off", help=f"KEY is one of {', '.join(KEYS)}")
    changing.set_defaults(run=run_set)


async def run_show(options: argparse.Namespace) -> int:
    stored = load(_path(options))
    found = {key: getattr(stored.settings, key.replace("-", "_")) for key in KEYS}
    if options.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key}: {'as the server has it' if value is None else 'on' if value else 'off'}")
    return 0


async def run_set(options: argparse.Namespace) -> int:
    stored = load(_path(options))
    settings = changed(stored.settings, options.change)
    entity = stored.entity or secrets.token_hex(8)
    async with ImClient(make_config(options)) as client:
        client.settings.published = Published(stored.etag, expires=LIFETIME)
        try:
            response = await client.settings.publish(Body(CONTENT_TYPE, service_settings.build(settings, entity)))
        except SubscriptionError as error:
            print(error)
            return FAILED
        save(_path(options), Stored(settings, client.settings.published.etag, entity))
    print(f"{response.status} {response.reason}: for {response.header('Expires') or '?'} s")
    return 0


def changed(settings: ServiceSettings, changes: list[str]) -> ServiceSettings:
    """The settings after KEY=on and KEY=off. Raises ValueError."""
    for change in changes:
        key, _, value = change.partition("=")
        if key not in KEYS or value not in ("on", "off"):
            raise ValueError(f"{change!r}: expected KEY=on or KEY=off, KEY one of {', '.join(KEYS)}")
        settings = replace(settings, **{key.replace("-", "_"): value == "on"})
    return settings


def load(path: Path) -> Stored:
    """What was published last; the defaults where there is no such file. Raises ValueError for a damaged one."""
    if not path.exists():
        return Stored()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Stored(ServiceSettings(**found["settings"]), str(found["etag"]), str(found["entity"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove it to begin anew") from None


def save(path: Path, stored: Stored) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(stored)), encoding="utf-8")
    temporary.replace(path)


def _path(options: argparse.Namespace) -> Path:
    if options.state is not None:
        return Path(options.state)
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    name = "".join(c if c.isalnum() or c in "@.-" else "_" for c in options.identity.partition(":")[2])
    return state / "im_client" / f"{name}.json"
