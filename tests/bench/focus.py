"""Benchmark of sessions of two at the focus on a real Kamailio: INVITE with a list to the factory, to release.

As `sessions`: SIPp is both users' devices, and nobody connects to their MSRP paths. `conference` has the media.

    python -m tests.bench.focus [--quick]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.bench.pager import SIPP, recipient, running
from tests.bench.sessions import signalling

FACTORY = "sip:conference-factory@example.com"
LIST = (
    '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list><entry uri="sip:bob@example.com"/></list>'
    "</resource-lists>"
)


def scenario(directory: Path) -> Path:
    """The caller of `sessions`, who asks the factory for a session with the same callee."""
    text = (SIPP / "session_caller.xml").read_text()
    text = text.replace("INVITE sip:bob@example.com", f"INVITE {FACTORY}").replace("<sip:bob@example.com>", f"<{FACTORY}>")
    head = "Content-Type: application/sdp\nContent-Length: [len]\n\n"
    assert head in text
    text = text.replace(
        head,
        "Require: recipient-list-invite\nContent-Type: multipart/mixed;boundary=b\nContent-Length: [len]\n\n"
        "--b\nContent-Type: application/sdp\n\n",
    )
    path = "caller[call_number];tcp\n"
    assert path in text
    listed = "--b\nContent-Type: application/resource-lists+xml\nContent-Disposition: recipient-list\n\n"
    text = text.replace(path, f"{path}{listed}{LIST}\n--b--\n")
    made = directory / "focus_caller.xml"
    made.write_text(text)
    return made


def main(*, quick: bool = False) -> int:
    """Run and print the table; 1 where a target is missed or something is left behind."""
    with (
        tempfile.TemporaryDirectory(prefix="im-bench-") as directory,
        running(Path(directory)) as deployment,
        recipient("session_callee.xml"),
    ):
        met = signalling(deployment, 500 if quick else 2_500, scenario(Path(directory)))
    print("targets met" if met else "TARGET MISSED")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main(quick="--quick" in sys.argv[1:]))
