"""Units of both databases: atomic, conditional, in order; errors that say what happened."""

from __future__ import annotations

import asyncio

import pytest

from msrp_worker.store import Conflict, Store, StoreClosed, StoreUnavailable, Unmet
from msrp_worker.store.database import Statement
from tests.msrp_worker.store.support import Opener

PUT = "INSERT INTO registration (address, expires_at) VALUES (?, ?)"
ALL = "SELECT address FROM registration ORDER BY address"


async def addresses(store: Store) -> list[str]:
    return [row[0] for row in await store.database.read(ALL)]


async def test_a_unit_is_all_or_nothing(store: Store) -> None:
    with pytest.raises(Conflict):
        await store.database.write(Statement(PUT, ("a", 1.0)), Statement(PUT, ("a", 2.0)))
    assert await addresses(store) == []


async def test_an_unmet_count_rolls_the_unit_back_and_names_the_statement(store: Store) -> None:
    delete = Statement("DELETE FROM registration WHERE address = ?", ("nobody",), 1)
    with pytest.raises(Unmet) as unmet:
        await store.database.write(Statement(PUT, ("a", 1.0), 1), delete)
    assert unmet.value.index == 1
    assert await addresses(store) == []


async def test_one_failing_unit_harms_no_other(store: Store) -> None:
    units = [store.database.write(Statement(PUT, (f"a{n % 40:02}", 1.0))) for n in range(50)]
    outcomes = await asyncio.gather(*units, return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 10
    assert await addresses(store) == [f"a{n:02}" for n in range(40)]


async def test_wrong_sql_is_an_error_of_its_own_unit(store: Store) -> None:
    wrong = store.database.write(Statement("DELETE FROM no_such_table"))
    right = store.database.write(Statement(PUT, ("a", 1.0)))
    outcomes = await asyncio.gather(wrong, right, return_exceptions=True)
    assert isinstance(outcomes[0], StoreUnavailable)
    assert await addresses(store) == ["a"]


async def test_results_tell_rows_touched_and_returned(store: Store) -> None:
    many, returned, updated = await store.database.write(
        Statement(PUT, [("a", 1.0), ("b", 2.0)], many=True),
        Statement(PUT + " RETURNING address", ("c", 3.0)),
        Statement("UPDATE registration SET expires_at = 9 WHERE address <> ?", ("a",)),
    )
    assert (many.touched, returned.touched, updated.touched) == (2, 1, 2)
    assert [tuple(row) for row in returned.rows] == [("c",)]


async def test_background_units_are_written_too(store: Store) -> None:
    units = [store.database.write(Statement(PUT, (f"b{n}", 1.0)), background=True) for n in range(5)]
    await asyncio.gather(*units)
    assert len(await addresses(store)) == 5


async def test_a_cancelled_writer_leaves_the_store_working(store: Store) -> None:
    waiting = asyncio.ensure_future(store.database.write(Statement(PUT, ("a", 1.0))))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await store.database.write(Statement(PUT, ("b", 1.0)))
    assert "b" in await addresses(store)


async def test_what_waits_is_written_on_close_and_nothing_after(opener: Opener) -> None:
    first = await opener()
    waiting = [asyncio.ensure_future(first.database.write(Statement(PUT, (f"a{n}", 1.0)))) for n in range(20)]
    await asyncio.gather(*waiting[:1])
    await asyncio.gather(*waiting)
    await first.close()
    with pytest.raises(StoreClosed):
        await first.database.write(Statement(PUT, ("late", 1.0)))
    with pytest.raises(StoreClosed):
        await first.database.read(ALL)
    second = await opener()
    assert len(await addresses(second)) == 20
