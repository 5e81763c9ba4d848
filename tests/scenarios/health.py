"""Whether Kamailio is whole: the same processes as before, none of them stuck."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios.bed import Instance, wait_until


def processes(instance: Instance) -> dict[int, str]:
    """Process ids of Kamailio with what each does."""
    return {int(row["PID"]): str(row["DSC"]) for row in instance.deployment.rpc("core.psx")}


def receivers(instance: Instance) -> list[int]:
    """Process ids of those that receive SIP over UDP on the core's port."""
    port = f":{instance.sip_port}"
    tasks = processes(instance).items()
    return [pid for pid, task in tasks if task.startswith("udp receiver") and port in task]


def switches(pid: int) -> int:
    """How often a process has gone to sleep by itself: a frozen one does not any more."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches"):
            return int(line.split()[1])
    raise RuntimeError("no voluntary_ctxt_switches")


class AllWork:
    """Shows that every UDP receiver went on taking requests since this was made."""

    def __init__(self, instance: Instance) -> None:
        self._before = {pid: switches(pid) for pid in receivers(instance)}
        assert len(self._before) >= 2

    def confirm(self) -> None:
        """Wait until each has worked; AssertionError names those that have not."""
        wait_until(
            lambda: all(switches(pid) > count for pid, count in self._before.items()),
            f"every receiver of {list(self._before)} takes requests",
        )


class Whole:
    """Checks at the end of a block that Kamailio still consists of the same processes. Use as `with`."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def __enter__(self) -> Whole:
        self._before = processes(self._instance)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            assert processes(self._instance) == self._before
            assert "child process" not in self._instance.kamailio_log()
