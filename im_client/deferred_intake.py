"""Takes what the Deferred Messaging Function sends, and acknowledges a message when it is safe here. CLI-06"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from msrp_worker.msrp import IncomingMessage, MessageStream, Session, SessionHandler

from .deferred import DeferredMessage
from .deferred_reader import SendReader, TooLargeError
from .errors import MalformedMessageError
from .transfer import Progress

log = logging.getLogger(__name__)

NO_ROOM = 413


class DeferredIntake(SessionHandler):
    """Handler of one MSRP session: each message goes to `on_message` once, before it is acknowledged.

    Content that is large goes to files in `directory`; without one it is refused, and stays with the server.
    `stream` is the handler before this one, which waits for the connection.
    """

    def __init__(
        self,
        stream: MessageStream,
        on_message: Callable[[DeferredMessage], None],
        directory: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.changed = asyncio.Event()
        """Set whenever something has come."""
        self._stream = stream
        self._on_message = on_message
        self._directory = directory
        self._progress = progress

    def bound(self, session: Session) -> None:
        """See `SessionHandler`."""
        self._stream.bound(session)

    def begin(self, session: Session, message: IncomingMessage) -> int | None:
        """See `SessionHandler`."""
        try:
            message.context = SendReader(message.content_type, self._directory)
        except MalformedMessageError as error:
            log.warning("a deferred message cannot be read: %s", error)
            message.context = None  # it is acknowledged all the same: it would come again and again
        return None

    def data(self, session: Session, message: IncomingMessage, data: bytes) -> int | None:
        """See `SessionHandler`."""
        self.changed.set()
        reader = message.context
        if not isinstance(reader, SendReader):
            return None
        try:
            reader.feed(data)
        except MalformedMessageError as error:
            log.warning("a deferred message cannot be read: %s", error)
            self._drop(message)
            return None
        except (TooLargeError, OSError) as error:
            log.warning("no room for a deferred message, it stays with the server: %s", error)
            self._drop(message)
            return NO_ROOM
        if self._progress is not None and message.total:
            self._progress(message.position + len(data), message.total)
        return None

    def end(self, session: Session, message: IncomingMessage) -> int | None:
        """See `SessionHandler`."""
        self.changed.set()
        reader = message.context
        if not isinstance(reader, SendReader):
            return None
        try:
            found = reader.finish()
        except MalformedMessageError as error:
            log.warning("a deferred message cannot be read: %s", error)
            return None
        except OSError as error:
            log.warning("a deferred message cannot be written, it stays with the server: %s", error)
            return NO_ROOM
        finally:
            self._drop(message)
        for one in found:
            self._on_message(one)
        return None

    def aborted(self, session: Session, message: IncomingMessage, reason: str) -> None:
        """See `SessionHandler`."""
        self._drop(message)

    def closed(self, session: Session, reason: str) -> None:
        """See `SessionHandler`."""
        self._stream.closed(session, reason)
        self.changed.set()

    @staticmethod
    def _drop(message: IncomingMessage) -> None:
        reader, message.context = message.context, None
        if isinstance(reader, SendReader):
            reader.discard()
