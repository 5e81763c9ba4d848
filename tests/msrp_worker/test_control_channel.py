"""Responses on the control connection, however they are cut."""

from __future__ import annotations

import asyncio

import pytest

from msrp_worker.kamailio_channels import _ControlConnection

FIRST = b"SIP/2.0 100 trying\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
SECOND = b"SIP/2.0 202 Accepted\r\nCSeq: 1 MESSAGE\r\nl : 5\r\n\r\n\r\n\r\nx"
STREAM = FIRST + b"\r\n\r\n" + SECOND + FIRST


@pytest.mark.requirement("PAG-11")
async def test_responses_cut_anywhere() -> None:
    for size in range(1, len(STREAM) + 1):
        heard: list[bytes] = []
        connection = _ControlConnection(asyncio.get_running_loop().create_future(), heard.append)
        for start in range(0, len(STREAM), size):
            connection.data_received(STREAM[start : start + size])
        assert heard == [FIRST, SECOND, FIRST], size
