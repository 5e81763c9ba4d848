"""Log records under a flood."""

import logging

import pytest

from msrp_worker.msrp.logs import MAX_PER_SECOND, limited_logger


@pytest.mark.requirement("SEC-05")
def test_a_flood_is_counted_not_written(caplog: pytest.LogCaptureFixture) -> None:
    log = limited_logger("msrp_worker.msrp.test_flood")
    assert limited_logger("msrp_worker.msrp.test_flood").filters == log.filters
    for second, count in ((100, 1_000), (101, 1), (102, 1)):
        for number in range(count):
            record = log.makeRecord(log.name, logging.WARNING, "", 0, "refused %d", (number,), None)
            record.created = second + 0.5
            log.handle(record)
    assert len(caplog.messages) == MAX_PER_SECOND + 2
    assert caplog.messages[-2:] == [f"refused 0 ({1_000 - MAX_PER_SECOND} more like it before)", "refused 0"]
