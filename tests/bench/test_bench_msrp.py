"""The benchmark runs, and measures something; how much is for `python -m tests.bench.bench_msrp` to say."""

from tests.bench.bench_msrp import MIB, Plan, run

TINY = Plan(seconds=0.1, rounds=1, slices=1, large=MIB, large_rounds=1, huge=2 * MIB, rooms=(2, 5), copies=100, idle=(20,))


async def test_every_row_is_measured() -> None:
    rows = await run(TINY)
    assert len(rows) == 23
    assert all(row.value for row in rows)
    assert {row.what.partition(":")[0] for row in rows} >= {"direct", "forwarder", "hop", "hop / forwarder"}
