"""A progress bar for transfers, on a terminal only."""

from __future__ import annotations

from typing import TextIO

WIDTH = 40


def bar(done: int, total: int) -> str:
    """One line for `done` bytes of `total`."""
    part = 1.0 if total <= 0 else min(1.0, done / total)
    filled = round(part * WIDTH)
    return f"[{'#' * filled}{'.' * (WIDTH - filled)}] {part:4.0%} {done:,} of {total:,} bytes"


class ProgressBar:
    """Call it with how much is done; it draws when the picture changes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream if stream.isatty() else None
        self._shown = ""

    def __call__(self, done: int, total: int) -> None:
        text = bar(done, total)
        if self._stream is None or (text.partition(" ")[0] == self._shown.partition(" ")[0] and done < total):
            return
        self._shown = text
        self._stream.write(f"\r{text}")
        self._stream.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._stream is not None and self._shown:
            self._stream.write("\n")
            self._shown = ""
