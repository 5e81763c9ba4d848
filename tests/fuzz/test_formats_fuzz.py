"""A short pass of the fuzz targets of the formats; each runs in its own process, as the fuzzer wants it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RUNS = 3_000
"""Inputs per target: about two seconds. A long run is by hand, see the targets."""


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("target", ["cpim", "group", "lists", "sdp", "uri_list", "xcap"])
def test_short_pass(target: str, tmp_path: Path) -> None:
    corpus = HERE / "corpus" / target
    command = [sys.executable, str(HERE / f"fuzz_{target}.py"), f"-runs={RUNS}", "-max_len=4096", "-seed=1"]
    done = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/", str(tmp_path), str(corpus)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
