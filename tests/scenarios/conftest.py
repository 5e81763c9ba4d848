"""Fixtures of the scenarios: one running instance per file, a fresh database by users of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.scenarios.bed import DOMAIN, Instance, instance_with

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """An instance with default settings, or with those in the module's SETTINGS, shared by the tests of a file."""
    settings = getattr(request.module, "SETTINGS", {})
    options = getattr(request.module, "OPTIONS", {})
    with instance_with(tmp_path_factory.mktemp("instance"), settings, **options) as running:
        yield running


@pytest.fixture
def new_user(instance: Instance) -> Callable[..., str]:
    """Makes a user of the test's own, so that tests of a file do not see each other's bindings and messages.

    Call it with `user set` values: `new_user(im_allowed="no")`. The password is the name followed by `-secret`.
    """

    def make(**values: str) -> str:
        name = f"user{next(_numbers)}"
        instance.in_store(lambda store: store.users.add(f"sip:{name}@{DOMAIN}", f"{name}-secret"))
        if values:
            instance.command("user", "set", name, *(f"{key}={value}" for key, value in values.items()))
        return name

    return make
