"""`KSR` exists only inside Kamailio: here a fake takes its place before the adapter is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

sys.modules.setdefault("KSR", ModuleType("KSR"))

from kemi import adapter, bindings, breaker, ksr  # noqa: E402
from kemi.app import App  # noqa: E402
from tests.kemi.bench import FLAGS, Bench, Clock  # noqa: E402
from tests.kemi.ksr_fake import FakeKamailio  # noqa: E402


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A Kamailio process without a worker."""
    settings = {
        "IM_STATE_DIR": f'"{tmp_path}"',
        "IM_DOMAIN": "example.com",
        **{name: str(flag) for name, flag in FLAGS.items()},
    }
    kamailio, clock = FakeKamailio(settings), Clock()
    for module in (adapter, bindings, ksr):
        monkeypatch.setattr(module, "KSR", kamailio.ksr)
    monkeypatch.setattr(adapter, "time", clock)
    monkeypatch.setattr(breaker, "time", clock)
    made = Bench(kamailio, App(), clock, tmp_path)
    yield made
    made.stop_worker()


@pytest.fixture
def working(bench: Bench) -> Bench:
    """The same with a worker that is alive."""
    bench.start_worker()
    return bench
