"""`python -m tests.soak --operations N --seed S`: run a soak, show how it goes, print the books."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import tempfile
from pathlib import Path

from tests.scenarios.namespaces import NamespaceError
from tests.soak.run import soak

OPERATIONS = 20_000
SECONDS = 900.0
"""After that no operation begins any more."""


def main() -> int:
    """0 when every promise was kept, 1 when not, 2 when it cannot run here."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--operations", type=int, default=OPERATIONS, metavar="N")
    parser.add_argument(
        "--seed", type=int, default=None, metavar="S", help="repeats the plan of a run; default: a random one"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="T", help="no operation begins after that")
    parser.add_argument("--logs", type=Path, default=None, metavar="DIRECTORY", help="for the logs of Kamailio and worker")
    parser.add_argument(
        "--setting", action="append", default=[], metavar="NAME=VALUE", help="of the server, such as IM_MEDIA_PATH=always"
    )
    parser.add_argument("--postgresql", action="store_true", help="store in a PostgreSQL of its own in place of SQLite")
    arguments = parser.parse_args()
    settings = dict(setting.partition("=")[::2] for setting in arguments.setting)
    seed = secrets.randbelow(1 << 31) if arguments.seed is None else arguments.seed
    directory = arguments.logs or Path(tempfile.mkdtemp(prefix="im-soak-"))
    directory.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=directory / "clients.log", level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    print(f"seed {seed}, {arguments.operations} operations, logs in {directory}", flush=True)

    def say(text: str) -> None:
        print(text, flush=True)

    try:
        options = {"settings": settings, "postgresql": arguments.postgresql}
        report = soak(directory, arguments.operations, seed, arguments.seconds, say, **options)
    except NamespaceError as error:
        print(error, file=sys.stderr)
        return 2
    print(report)
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
