"""Names for files that came, in a directory of the user: nothing that is there is ever replaced."""

from __future__ import annotations

from pathlib import Path

MAX_SAME_NAME = 10_000
"""Files of one name in a directory, told apart by a number."""


def link(temporary: Path, target: Path) -> Path:
    """Give the file its name, or that name with the first free number. FileExistsError when none is free."""
    for number in range(1, MAX_SAME_NAME):
        place = target if number == 1 else target.with_stem(f"{target.stem}-{number}")
        try:
            place.hardlink_to(temporary)
        except FileExistsError:
            continue
        return place
    raise FileExistsError(target)
