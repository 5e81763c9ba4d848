"""A server process under measurement: its CPU time and its memory, from /proc."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]


class ServerProcess:
    """`python -m MODULE ARGUMENTS`, ready when it has printed a line of JSON. Ends with the context."""

    def __init__(self, module: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ready: dict[str, Any] = {}

    def __enter__(self) -> ServerProcess:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the server did not start")
        self.ready = json.loads(line)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def _proc(self) -> Path:
        return Path("/proc") / str(self._process.pid)

    def cpu_seconds(self) -> float:
        """CPU time of all threads so far: nanoseconds on a CPU, the first field of schedstat."""
        stats = (self._proc / "task").glob("*/schedstat")
        return sum(int(stat.read_text().split()[0]) for stat in stats) / 1e9

    def pss_bytes(self) -> int:
        """Proportional set size now."""
        return self._kilobytes("smaps_rollup", "Pss") * 1024

    def peak_rss_bytes(self) -> int:
        """Highest resident set size since `reset_peak`."""
        return self._kilobytes("status", "VmHWM") * 1024

    def reset_peak(self) -> None:
        """Begin a new measurement of the peak."""
        (self._proc / "clear_refs").write_text("5")

    def _kilobytes(self, file: str, field: str) -> int:
        match = re.search(rf"^{field}:\s+(\d+) kB", (self._proc / file).read_text(), re.MULTILINE)
        assert match is not None
        return int(match[1])
