"""A short pass of the codec's fuzzer, from its kept corpus."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
RUNS = 3_000
"""Inputs tried beyond the corpus: a few seconds."""


@pytest.mark.requirement("SEC-05", "MED-01")
def test_codec_survives_a_short_pass(tmp_path: Path) -> None:
    result = subprocess.run(
        [
            sys.executable,
            str(FOLDER / "fuzz_codec.py"),
            f"-runs={RUNS}",
            "-max_total_time=30",
            f"-artifact_prefix={tmp_path}/",
            str(tmp_path),
            str(FOLDER / "corpus" / "codec"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4_000:]
    assert "Done" in result.stderr
