"""Rules documents made to hurt: refused at once with a clear error, what was stored stays (SEC-05)."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.traffic import Peer, im_message

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.1"}
POLICY = "urn:ietf:params:xml:ns:common-policy"
ALLOW_ALL = (
    f'<ruleset xmlns="{POLICY}"><rule id="a"><conditions/><actions>'
    '<allow-pager-mode-message xmlns="urn:oma:xml:im:im-rules">allow</allow-pager-mode-message></actions></rule></ruleset>'
)
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BOMBS = {
    "entities within entities": f'<!DOCTYPE r [<!ENTITY l0 "lol">{LAUGHS}]><ruleset xmlns="{POLICY}">&l9;</ruleset>',
    "one large entity": f'<!DOCTYPE r [<!ENTITY a "{"x" * 50_000}">]><ruleset xmlns="{POLICY}">{"&a;" * 5000}</ruleset>',
    "a file": f'<!DOCTYPE r [<!ENTITY f SYSTEM "file:///etc/passwd">]><ruleset xmlns="{POLICY}">&f;</ruleset>',
    "another host": f'<!DOCTYPE r SYSTEM "http://127.0.0.1:1/x.dtd"><ruleset xmlns="{POLICY}"/>',
    "deep nesting": f'<ruleset xmlns="{POLICY}">' + "<rule>" * 200_000 + "</rule>" * 200_000 + "</ruleset>",
    "many rules": f'<ruleset xmlns="{POLICY}">' + '<rule id="x"/>' * 500_000 + "</ruleset>",
    "many attributes": f'<ruleset xmlns="{POLICY}" ' + " ".join(f'a{n}=""' for n in range(200_000)) + "/>",
    "no XML": "\0" * 1000,
    "nothing": "",
    "another document": "<html/>",
}


@pytest.mark.requirement("SEC-05", "XDM-03")
@pytest.mark.parametrize("name", BOMBS)
async def test_a_hostile_document_is_refused(
    instance: Instance, new_user: Callable[..., str], tmp_path: Path, name: str
) -> None:
    """Within seconds and without much memory; the rules that were there still decide."""
    recipient = new_user()
    good, bad = tmp_path / "good.xml", tmp_path / "bad.xml"
    good.write_text(ALLOW_ALL)
    bad.write_text(BOMBS[name])
    instance.command("rules", "put", recipient, str(good))
    start = time.monotonic()
    result = instance.deployment.command("rules", "put", recipient, str(bad))
    assert time.monotonic() - start < 5
    assert result.returncode != 0
    assert b"Traceback" not in result.stderr
    assert b"root:" not in result.stdout + result.stderr
    assert str(bad).encode() in result.stderr + result.stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 512 * 1024
    assert instance.command("rules", "get", recipient) == ALLOW_ALL
    async with await Peer.open(instance.sip_port) as peer:
        assert (await peer.ask(im_message("alice", recipient))).status == 202
