"""How a command asks the running worker for what only that one knows."""

from __future__ import annotations

import socket

from kemi.messages import MAX_PACKET, Operate, encode_question
from msrp_worker.commands.common import NotDone
from msrp_worker.config import Config
from msrp_worker.session_packets import Answer, NotUnderstood, Request, encode, read_answer

ANSWER_SECONDS = 10.0
"""How long a command waits for a worker that is busy; an answer takes milliseconds."""


class Worker:
    """A connection to the worker of this node; use as `with`."""

    def __init__(self, config: Config) -> None:
        """NotDone when no worker runs."""
        self._path = config.question_socket
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(ANSWER_SECONDS)
        try:
            self._socket.connect(str(self._path))
        except PermissionError:
            self._socket.close()
            raise NotDone(f"{self._path} may not be opened: run the command as the user of the worker") from None
        except OSError:
            self._socket.close()
            raise NotDone(
                f"no worker runs here ({self._path}): start it with `python -m msrp_worker serve`, or give the command the "
                "worker's IM_STATE_DIR; sessions end with their worker"
            ) from None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, request: Request) -> Answer:
        """The answer to a request. NotDone when none comes."""
        try:
            self._socket.send(encode_question(None, Operate(), encode(request)))
            packet = self._socket.recv(MAX_PACKET)
        except TimeoutError:
            raise NotDone(
                f"the worker has not answered for {ANSWER_SECONDS:g} s: it is busy, hangs, or is of another version; "
                "`doctor` and its log tell more"
            ) from None
        except OSError:
            packet = b""
        if not packet:
            raise NotDone("the worker has stopped meanwhile")
        try:
            answer = read_answer(packet)
        except ValueError:
            answer = NotUnderstood()
        if isinstance(answer, NotUnderstood):
            raise NotDone("the worker could not answer; its log says why (is it of another version?)")
        return answer
