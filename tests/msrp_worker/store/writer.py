"""A process that stores messages without end and says which are durable; a test kills it."""

import asyncio
import itertools
import os
import sys
import time

from msrp_worker.config import Config
from msrp_worker.store import NewDeferred, open_store

IN_FLIGHT = 32


async def main() -> None:
    store = await open_store(Config.load({"IM_STATE_DIR": sys.argv[1]}))
    numbers = itertools.count()

    async def send() -> None:
        for number in numbers:
            message_id = await store.deferred.add(
                NewDeferred(
                    recipient="sip:alice@example.com",
                    originator="sip:bob@example.com",
                    call_id=f"call-{number}",
                    cseq=1,
                    from_tag="tag",
                    message=b"%d" % number,
                    received=time.time(),
                )
            )
            os.write(1, f"{number} {message_id}\n".encode())

    await asyncio.gather(*(send() for _ in range(IN_FLIGHT)))


asyncio.run(main())
