"""Settings: where they come from, what they may be, and what an operator is told."""

from __future__ import annotations

import ast
import inspect
import itertools
from pathlib import Path
from typing import Any

import pytest

from msrp_worker import config as config_module
from msrp_worker.config import Config, ConfigError, effective, settings


def test_defaults_are_those_of_the_documentation() -> None:
    config = Config.load({})
    assert (config.domain, config.listen, config.port_offset) == ("example.com", "127.0.0.1", 0)
    assert (config.pager_max_size, config.large_max_size) == (32768, 1073741824)
    assert (config.content_types, config.trusted_peers) == (("*",), ())
    assert (config.anonymity, config.barred_response, config.media_path) == ("allow", 480, "auto")
    assert (config.adhoc_max_participants, config.auto_release) == (50, 0)
    assert (config.session_max_seconds, config.remaining_participants) == (0, 1)
    assert (config.deferred_max_messages, config.deferred_max_bytes) == (20000, 1073741824)
    assert (config.deferred_days, config.trace_days) == (30, 7)
    assert config.state_dir == Path("var").absolute()
    assert config.database_url == f"sqlite://{Path('var').absolute()}/im.sqlite"
    assert config.demo
    assert not config.tls_enabled


@pytest.mark.requirement("SET-06")
def test_defaults_of_service_settings_can_be_changed() -> None:
    plain = Config.load({})
    assert (plain.settings_offline_delivery, plain.settings_visibility, plain.settings_history) == (
        False,
        True,
        False,
    )
    changed = Config.load(
        {"IM_SETTINGS_OFFLINE_DELIVERY": "yes", "IM_SETTINGS_VISIBILITY": "no", "IM_SETTINGS_HISTORY": "1"}
    )
    assert (changed.settings_offline_delivery, changed.settings_visibility, changed.settings_history) == (
        True,
        False,
        True,
    )


def test_the_offset_moves_every_port() -> None:
    config = Config.load({"IM_PORT_OFFSET": "10000"})
    ports = (config.sip_port, config.sips_port, config.originating_port, config.terminating_port)
    assert ports == (15060, 15061, 15070, 15072)
    assert (config.control_port, config.msrp_port, config.msrps_port, config.http_port) == (
        15090,
        12855,
        12856,
        18080,
    )


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "im.conf"
    file.write_text("# a comment\n\nIM_DOMAIN = file.example  # ours\nIM_DEFERRED_DAYS=3\nIM_ANONYMITY = refuse\n")
    environ = {"IM_CONFIG": str(file), "IM_DOMAIN": "environ.example"}
    for config in (Config.load(environ), Config.load({"IM_DOMAIN": "environ.example"}, file)):
        assert (config.domain, config.deferred_days, config.anonymity) == ("environ.example", 3, "refuse")
        sources = {name: source for name, _, source in effective(config)}
        assert sources["IM_DOMAIN"] == "environment"
        assert sources["IM_DEFERRED_DAYS"] == str(file)
        assert sources["IM_LISTEN"] == "default"


@pytest.mark.parametrize(
    ("name", "value", "attribute", "expected"),
    [
        ("IM_DOMAIN", "Example.ORG", "domain", "example.org"),
        ("IM_LISTEN", "::1", "listen", "::1"),
        ("IM_LISTEN", "[::1]", "listen", "::1"),
        ("IM_TRUSTED_PEERS", "192.0.2.1, 10.1.0.0/16,", "trusted_peers", ("192.0.2.1", "10.1.0.0/16")),
        ("IM_TRUSTED_PEERS", "", "trusted_peers", ()),
        ("IM_CONTENT_TYPES", "Text/*, image/PNG", "content_types", ("text/*", "image/png")),
        ("IM_DATABASE", "/srv/im.db", "database_url", "sqlite:///srv/im.db"),
        ("IM_DATABASE", "sqlite:///srv/im.db", "database_url", "sqlite:///srv/im.db"),
        ("IM_DATABASE", "postgresql://im@db/im", "database_url", "postgresql://im@db/im"),
        ("IM_DATABASE", "postgres://im@db/im", "database_url", "postgresql://im@db/im"),
        ("IM_DEMO", "0", "demo", False),
        ("IM_TLS_KEY", "", "tls_key", None),
    ],
)
def test_values_are_read(name: str, value: str, attribute: str, expected: Any) -> None:
    assert getattr(Config.load({name: value}), attribute) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IM_DOMAIN", ""),
        ("IM_DOMAIN", "-x.example"),
        ("IM_DOMAIN", "a" * 65),
        ("IM_DOMAIN", "two words"),
        ("IM_STATE_DIR", " "),
        ("IM_STATE_DIR", "/" + "x" * 107),
        ("IM_DATABASE", "mysql://im@db/im"),
        ("IM_PORT_OFFSET", "-1"),
        ("IM_PORT_OFFSET", "60000"),
        ("IM_PORT_OFFSET", "ten"),
        ("IM_LISTEN", "localhost"),
        ("IM_TRUSTED_PEERS", "192.0.2.1;192.0.2.2"),
        ("IM_PAGER_MAX_SIZE", "32k"),
        ("IM_CONTENT_TYPES", "text"),
        ("IM_CONTENT_TYPES", ""),
        ("IM_ANONYMITY", "maybe"),
        ("IM_BARRED_RESPONSE", "200"),
        ("IM_MEDIA_PATH", "yes"),
        ("IM_ADHOC_MAX_PARTICIPANTS", "1"),
        ("IM_DEFERRED_DAYS", "0"),
        ("IM_DEMO", "perhaps"),
    ],
)
def test_a_malformed_value_is_named_with_what_is_expected(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config.load({name: value})
    assert error.value.setting == name
    assert name in str(error.value)
    assert "expected" in str(error.value)


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ConfigError, match="IM_TLS_KEY"):
        Config.load({"IM_TLS_CERTIFICATE": "/x.pem"})
    with pytest.raises(ConfigError, match="IM_TLS_CERTIFICATE"):
        Config.load({"IM_TLS_KEY": "/x.pem"})
    assert Config.load({"IM_TLS_CERTIFICATE": "/x.pem", "IM_TLS_KEY": "/y.pem"}).tls_enabled


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [("IM_DOMIAN = x\n", 1, "name of a setting"), ("\nIM_DOMAIN x\n", 2, "NAME = value")],
)
def test_a_file_with_a_mistake_is_an_error_of_its_line(tmp_path: Path, text: str, line: int, expected: str) -> None:
    file = tmp_path / "im.conf"
    file.write_text(text)
    with pytest.raises(ConfigError, match=expected) as error:
        Config.load({}, file)
    assert error.value.setting == f"{file}:{line}"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "im.conf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="IM_CONFIG"):
        Config.load({"IM_CONFIG": str(file)})


@pytest.mark.parametrize(
    "url",
    ["postgresql://im:p@ss@db/im", "postgresql://im@db/im?password=p@ss&x=1", "postgresql://:p@ss@db/im"],
)
def test_no_password_is_shown(url: str) -> None:
    shown = {name: value for name, value, _ in effective(Config.load({"IM_DATABASE": url}))}
    assert "p@ss" not in shown["IM_DATABASE"]
    assert "***" in shown["IM_DATABASE"]


def test_sockets_are_in_the_state_directory(tmp_path: Path) -> None:
    config = Config.load({"IM_STATE_DIR": str(tmp_path)})
    assert config.question_socket == tmp_path / "question.sock"
    assert config.kamailio_rpc_socket == tmp_path / "kamailio-rpc.sock"


def test_every_setting_has_its_meaning_below_it() -> None:
    tree = ast.parse(inspect.getsource(config_module))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Config")
    documented = {
        field.target.id
        for field, after in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and "Default" in str(after.value.value)
    }
    assert {field.name for field in settings()} <= documented
