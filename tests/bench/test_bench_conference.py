"""The conference benchmark runs, and its clients hear what is sent; no figure is judged here."""

from __future__ import annotations

import pytest

from msrp_worker.config import Config
from msrp_worker.msrp import EndpointConfig, MsrpEndpoint
from tests.bench.conference import Bench, measure_growth, measure_latency, measure_set_up


@pytest.mark.requirement("MED-08", "CNF-07")
async def test_all_parts_run() -> None:
    endpoint = MsrpEndpoint(EndpointConfig(port=0))
    await endpoint.start()
    bench = Bench(endpoint, Config())
    rows = [*await measure_set_up(bench, 1), *await measure_growth(bench, (3, 5)), *await measure_latency(bench, 2, 0.2)]
    assert all(row.value for row in rows)
    assert not bench.function.sessions() and len(bench.functions.legs) == 0
    await bench.function.close()
    await endpoint.stop()
