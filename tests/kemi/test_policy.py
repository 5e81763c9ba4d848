"""The operator's settings as text become the policy, or an error that names them."""

from __future__ import annotations

import pytest

from kemi.policy import Policy, load


def test_without_settings_the_defaults_hold() -> None:
    assert load(lambda _: None) == Policy()
    assert load(lambda _: "  ") == Policy()


@pytest.mark.requirement("PAG-03", "PAG-06", "IDN-05", "SEC-05", "SEC-06", "COR-04")
@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("IM_DOMAIN", "Example.ORG", "domain", "example.org"),
        ("IM_PAGER_MAX_SIZE", "100", "pager_max_size", 100),
        ("IM_PAGER_MAX_SIZE", "0", "pager_max_size", 0),
        ("IM_CONTENT_TYPES", "Text/*, message/CPIM,", "content_types", ("text/*", "message/cpim")),
        ("IM_CONTENT_TYPES", " , ", "content_types", ("*",)),
        ("IM_ANONYMITY", "refuse", "anonymity", False),
        ("IM_ANONYMITY", "Allow", "anonymity", True),
        ("IM_BARRED_RESPONSE", "403", "barred_response", 403),
        ("IM_BARRED_RESPONSE", "699", "barred_response", 699),
        ("IM_HEADER_MAX_SIZE", "8192", "header_max_size", 8192),
        ("IM_RETRY_AFTER", "30", "retry_after", 30),
        ("IM_ANSWER_TIMEOUT", " 2500 ", "answer_timeout", 2500),
        ("IM_STATE_DIR", "/srv/im", "state_dir", "/srv/im"),
    ],
)
def test_each_setting_is_read(name: str, text: str, field: str, value: object) -> None:
    assert getattr(load({name: text}.get), field) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("IM_PAGER_MAX_SIZE", "32k"),
        ("IM_PAGER_MAX_SIZE", "-1"),
        ("IM_PAGER_MAX_SIZE", "1_000"),
        ("IM_PAGER_MAX_SIZE", "٣"),
        ("IM_PAGER_MAX_SIZE", "9" * 5000),
        ("IM_ANONYMITY", "yes"),
        ("IM_BARRED_RESPONSE", "399"),
        ("IM_BARRED_RESPONSE", "700"),
        ("IM_BARRED_RESPONSE", "busy"),
        ("IM_HEADER_MAX_SIZE", "0"),
        ("IM_RETRY_AFTER", "soon"),
        ("IM_ANSWER_TIMEOUT", "0"),
    ],
    ids=lambda value: value[:30],
)
def test_a_bad_setting_is_named_with_what_is_expected(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=rf"setting {name} = .*: expected (a whole number|allow or refuse)"):
        load({name: text}.get)
