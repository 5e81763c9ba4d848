"""Log records under a flood."""

import logging

import pytest

from msrp_worker.msrp import logs
from msrp_worker.msrp.logs import limited_logger


@pytest.mark.requirement("SEC-05")
def test_a_flood_is_counted_not_written(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_PER_SECOND", 10)
    log = limited_logger("msrp_worker.msrp.test_flood")
    assert limited_logger("msrp_worker.msrp.test_flood").filters == log.filters
    for second, count in ((100, 1_000), (101, 1), (102, 1)):
        for number in range(count):
            record = log.makeRecord(log.name, logging.WARNING, "", 0, "refused %d", (number,), None)
            record.created = second + 0.5
            log.handle(record)
    assert len(caplog.messages) == 10 + 2
    assert caplog.messages[-2:] == ["refused 0 (990 more like it before)", "refused 0"]
