"""Debian's packaged configuration with the lines of docs/debian-example.md, beside a worker."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.bed import Instance
from tools.deployment import KAMAILIO, MEMORY_MANAGER, ROOT, Process

PACKAGED = Path("/etc/kamailio/kamailio.cfg")
PAGE = ROOT / "docs" / "debian-example.md"


def packaged() -> str:
    """The packaged file. AssertionError when the one on this machine is not what the package brought."""
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Conffiles}", "kamailio"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(rf"^\s*{re.escape(str(PACKAGED))} ([0-9a-f]+)", listed, re.MULTILINE)
    assert found is not None, f"the package kamailio does not list {PACKAGED}"
    content = PACKAGED.read_bytes()
    own = hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert own == found.group(1), f"{PACKAGED} was changed on this machine: this scenario needs the packaged one"
    return content.decode()


def block(kind: str) -> str:
    """The block of that kind in the page."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(found)


def apply(directory: Path, instance: Instance) -> Path:
    """Do in `directory` what the page does in /etc/kamailio; the configuration."""
    config = instance.deployment.config
    here = {
        "/etc/kamailio": str(directory),
        "/opt/simple-im": str(ROOT),
        "/var/lib/simple-im": str(config.state_dir),
        "192.0.2.1:5060": f"{config.listen}:{config.sip_port}",
    }

    def placed(text: str) -> str:
        for there, path in here.items():
            text = text.replace(there, path)
        return text

    target = directory / "kamailio.cfg"
    target.write_text(packaged())
    control = (
        f"#!define IM_CONTROL_LISTEN tcp:127.0.0.1:{config.control_port}\n#!define IM_CONTROL_PORT {config.control_port}\n"
    )
    (directory / "kamailio-local.cfg").write_text(control + placed(block("cfg")))
    subprocess.run(["sh", "-e"], input=placed(block("sh")), text=True, check=True)
    return target


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Kamailio as Debian configures it, with nothing in its environment that is ours."""
    directory = tmp_path_factory.mktemp("debian")
    running = Instance(directory, {})
    config = apply(directory, running)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("IM_")}
    arguments = [KAMAILIO, "-DD", "-E", "-f", str(config), "-m", "128", "-x", MEMORY_MANAGER, "-Y", str(running.state_dir)]
    running.deployment.kamailio = Process("kamailio", arguments, environ, directory / "kamailio.log")
    try:
        running.start()
        yield running
    finally:
        running.stop()
