"""Configuration of the worker: one frozen value, filled from the environment and an optional file.

The names are the ones an operator also uses as `#!define` in kamailio.cfg. The environment wins over the
file, the file over the defaults.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LARGEST_PORT = 65535
HTTP_PORT = 8080
"""The highest of the base ports: what IM_PORT_OFFSET is bounded by."""
LONGEST_UNIX_SOCKET_PATH = 107
"""Bytes of a path that fit sockaddr_un (108 with the closing NUL); a longer state directory cannot work."""
SECONDS_PER_DAY = 86400


class ConfigError(ValueError):
    """A setting cannot be used. The text names the setting, its value and what is expected."""

    def __init__(self, setting: str, value: str, expected: str) -> None:
        super().__init__(f"{setting}: {value!r} cannot be used; expected {expected}")
        self.setting = setting
        self.value = value
        self.expected = expected


def _text(value: str) -> str:
    return value.strip()


def _domain(value: str) -> str:
    domain = value.strip().lower()
    if not re.fullmatch(r"(?=.{1,64}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", domain):
        raise ValueError(value)
    return domain


def _path(value: str) -> Path:
    if not value.strip() or "\0" in value:
        raise ValueError(value)
    return Path(value.strip()).absolute()


def _optional_path(value: str) -> Path | None:
    return _path(value) if value.strip() else None


def _database(value: str) -> str:
    text = value.strip()
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text
    if scheme == "postgres":
        return "postgresql://" + rest
    if scheme not in ("sqlite", "postgresql"):
        raise ValueError(value)
    return text


def _address(value: str) -> str:
    return str(ipaddress.ip_address(value.strip().strip("[]")))


def _root(value: str) -> str:
    root = value.strip().rstrip("/")
    if root and not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[^\s?#]*)?", root):
        raise ValueError(value)
    return root


def _peers(value: str) -> tuple[str, ...]:
    networks = (ipaddress.ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip())
    return tuple(str(network.network_address) if network.num_addresses == 1 else str(network) for network in networks)


def _yes_no(value: str) -> bool:
    word = value.strip().lower()
    if word in ("1", "yes", "true", "on"):
        return True
    if word in ("0", "no", "false", "off"):
        return False
    raise ValueError(value)


def _whole(smallest: int, largest: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        number = int(value.strip())
        if not smallest <= number <= largest:
            raise ValueError(value)
        return number

    return parse


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        word = value.strip().lower()
        if word not in words:
            raise ValueError(value)
        return word

    return parse


def parse_content_types(value: str) -> tuple[str, ...]:
    """Patterns of a comma separated list, in lower case: `*`, `text/*`, `text/plain`. ValueError."""
    patterns = tuple(part.strip().lower() for part in value.split(",") if part.strip())
    for pattern in patterns:
        if pattern != "*" and not re.fullmatch(r"[a-z0-9!#$&^_.+-]+/(\*|[a-z0-9!#$&^_.+-]+)", pattern):
            raise ValueError(value)
    if not patterns:
        raise ValueError(value)
    return patterns


def _setting(name: str, default: Any, parse: Callable[[str], Any], expected: str) -> Any:
    return dataclasses.field(default=default, metadata={"setting": name, "parse": parse, "expected": expected})


_YES_NO = "yes or no"
LARGEST_SIZE = 1 << 40
"""Bytes of the largest message or file that can be permitted: 1 TiB, beyond any real one."""
_ANY_COUNT = _whole(0, 1 << 31)
LONGEST_PUBLICATION = 366 * SECONDS_PER_DAY
"""Seconds that published settings can be let hold: soft state of a device not seen for a year is nobody's."""


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """All settings, with defaults that run on one machine without any configuration."""

    domain: str = _setting("IM_DOMAIN", "example.com", _domain, "a domain name of at most 64 characters")
    """Served domain and digest realm (COR-04). Default example.com."""

    state_dir: Path = _setting("IM_STATE_DIR", Path("var").absolute(), _path, "a directory")
    """Database, sockets and large content live here. Default ./var."""

    database: str = _setting("IM_DATABASE", "", _database, "empty, a file, sqlite:///file or postgresql://user@host/name")
    """Where the store is; a relative file is in the state directory. Default empty: `im.sqlite` there."""

    port_offset: int = _setting(
        "IM_PORT_OFFSET", 0, _whole(0, LARGEST_PORT - HTTP_PORT), f"0 to {LARGEST_PORT - HTTP_PORT}"
    )
    """Added to every port, so that instances run side by side. Default 0."""

    listen: str = _setting("IM_LISTEN", "127.0.0.1", _address, "an IP address")
    """Address of the listening sockets, except control, which is loopback only. Default 127.0.0.1."""

    trusted_peers: tuple[str, ...] = _setting("IM_TRUSTED_PEERS", (), _peers, "IP addresses or networks, comma separated")
    """Peers whose P-Asserted-Identity is believed (IDN-02), which may use ports 5070/5072. Default none."""

    pager_max_size: int = _setting("IM_PAGER_MAX_SIZE", 32768, _whole(0, LARGEST_SIZE), "a number of bytes")
    """Largest body of a MESSAGE, bytes (PAG-03). Default 32768."""

    large_max_size: int = _setting("IM_LARGE_MAX_SIZE", 1 << 30, _whole(0, LARGEST_SIZE), "a number of bytes")
    """Largest large message or file, bytes. Default 1073741824."""

    content_types: tuple[str, ...] = _setting(
        "IM_CONTENT_TYPES",
        ("*",),
        parse_content_types,
        "content types, comma separated; `text/*` and `*` work",
    )
    """Allowed content types (PAG-03), lower case. Default `*`: all."""

    anonymity: str = _setting("IM_ANONYMITY", "allow", _one_of("allow", "refuse"), "allow or refuse")
    """Whether Privacy: id is served outside groups (IDN-05). Default allow."""

    barred_response: int = _setting("IM_BARRED_RESPONSE", 480, _whole(400, 699), "a SIP failure status, 400 to 699")
    """Status for a request that the recipient bars (PAG-06). Default 480."""

    media_path: str = _setting("IM_MEDIA_PATH", "auto", _one_of("auto", "always", "never"), "auto, always or never")
    """Whether the participating function stays in the media path. Default auto: if something asks for it."""

    adhoc_max_participants: int = _setting(
        "IM_ADHOC_MAX_PARTICIPANTS", 50, _whole(2, 100_000), "a number of participants, at least 2"
    )
    """MAX-ADHOC-GROUP-SIZE, participants. Default 50."""

    adhoc_adding: str = _setting("IM_ADHOC_ADDING", "any", _one_of("any", "initiator"), "any or initiator")
    """Which participants of an ad-hoc session may add users to it (CNF-31). Default any."""

    message_lists: str = _setting("IM_MESSAGE_LISTS", "allow", _one_of("allow", "refuse"), "allow or refuse")
    """Whether a MESSAGE with a URI-list is sent on to those on it (PAG-11). Default allow."""

    anonymous_answers: str = _setting("IM_ANONYMOUS_ANSWERS", "ignore", _one_of("ignore", "release"), "ignore or release")
    """Who answers an invitation asking for privacy where that is not allowed (IDN-07): takes part under its own address, or
    is released at once. Default ignore."""

    auto_release: bool = _setting("IM_AUTO_RELEASE", False, _yes_no, _YES_NO)
    """Whether the session of a predefined group ends when its originator leaves (CNF-29). Default 0."""

    session_max_seconds: int = _setting("IM_SESSION_MAX_SECONDS", 0, _ANY_COUNT, "a number of seconds, 0 for no limit")
    """Longest session (7.2.2.8), seconds; 0 is no limit. Default 0."""

    remaining_participants: int = _setting("IM_REMAINING_PARTICIPANTS", 1, _ANY_COUNT, "a number of participants")
    """A session with this many participants or fewer is released (7.2.2.8). Default 1."""

    conference_notify_interval: int = _setting(
        "IM_CONFERENCE_NOTIFY_INTERVAL", 1, _whole(0, 3600), "a number of seconds, 0 to 3600"
    )
    """Least time between two NOTIFYs of changed participants to one subscriber, seconds (CES-06). Default 1: people who
    talk want to see at once who is there; RFC 4575 section 3.9 recommends 5 where congestion is to be feared."""

    deferred_max_messages: int = _setting("IM_DEFERRED_MAX_MESSAGES", 20_000, _ANY_COUNT, "a number of messages")
    """Deferred messages kept per user (DEF-11). Default 20000."""

    deferred_max_bytes: int = _setting("IM_DEFERRED_MAX_BYTES", 1 << 30, _whole(0, 1 << 50), "a number of bytes")
    """Bytes of deferred messages kept per user (DEF-11). Default 1073741824."""

    deferred_days: int = _setting("IM_DEFERRED_DAYS", 30, _whole(1, 36_500), "a number of days, at least 1")
    """Retention of deferred messages, days (DEF-11). Default 30."""

    deferred_form: str = _setting("IM_DEFERRED_FORM", "auto", _one_of("auto", "sip", "cpim"), "auto, sip or cpim")
    """How deferred messages travel to a client (DEF-04): message/sip, message/cpim, or as its answer asks. Default auto."""

    settings_offline_delivery: bool = _setting("IM_SETTINGS_OFFLINE_DELIVERY", False, _yes_no, _YES_NO)
    """Service setting `deferred` of a user who published none (SET-06). Default no."""

    settings_visibility: bool = _setting("IM_SETTINGS_VISIBILITY", True, _yes_no, _YES_NO)
    """Service setting `vis-status` of a user who published none (SET-06). Default yes."""

    settings_history: bool = _setting("IM_SETTINGS_HISTORY", False, _yes_no, _YES_NO)
    """Service setting `hist-activation` of a user who published none (SET-06). Default no."""

    settings_expires: int = _setting(
        "IM_SETTINGS_EXPIRES", 3600, _whole(1, LONGEST_PUBLICATION), f"a number of seconds, 1 to {LONGEST_PUBLICATION}"
    )
    """How long published settings hold when the client leaves it to us, seconds (SET-04). Default 3600."""

    settings_min_expires: int = _setting(
        "IM_SETTINGS_MIN_EXPIRES", 60, _whole(1, LONGEST_PUBLICATION), f"a number of seconds, 1 to {LONGEST_PUBLICATION}"
    )
    """Shortest time for which settings can be published, seconds; below it 423 (SET-04). Default 60."""

    settings_max_expires: int = _setting(
        "IM_SETTINGS_MAX_EXPIRES",
        604800,
        _whole(1, LONGEST_PUBLICATION),
        f"a number of seconds, 1 to {LONGEST_PUBLICATION}",
    )
    """Longest time that is granted to a publication, seconds. Default 604800: a week without the device."""

    trace_days: int = _setting("IM_TRACE_DAYS", 7, _whole(0, 36_500), "a number of days")
    """How long trace events are kept, days. Default 7."""

    trace_max_events: int = _setting("IM_TRACE_MAX_EVENTS", 1_000_000, _ANY_COUNT, "a number of events")
    """How many trace events are kept, about; bounds the table on a busy day. Default 1000000."""

    tls_certificate: Path | None = _setting("IM_TLS_CERTIFICATE", None, _optional_path, "a PEM file")
    """Certificate chain; with the key it switches on the TLS ports. Default none."""

    tls_key: Path | None = _setting("IM_TLS_KEY", None, _optional_path, "a PEM file")
    """Private key of the certificate. Default none."""

    xcap_root: str = _setting("IM_XCAP_ROOT", "", _root, "empty, or an http or https URI")
    """XCAP root URI under which clients know the documents (XDM-04), where it is not `http://DOMAIN:8080/xcap`, which is
    always one. Default empty."""

    msrp_public_host: str = _setting("IM_MSRP_PUBLIC_HOST", "", _text, "a host name or IP address")
    """Host in a=path of our MSRP sessions (MED-05). Default empty: the address the kernel would use towards the peer."""

    msrp_address_check: bool = _setting("IM_MSRP_ADDRESS_CHECK", False, _yes_no, _YES_NO)
    """Whether an MSRP session is bound only from an address named in its peer's SDP or SIP (MED-10). Default no."""

    msrp_max_connections: int = _setting("IM_MSRP_MAX_CONNECTIONS", 20_000, _whole(1, 1_000_000), "a number of connections")
    """MSRP connections at the same time, in and out (SEC-02). Default 20000."""

    msrp_max_per_address: int = _setting("IM_MSRP_MAX_PER_ADDRESS", 1000, _whole(1, 1_000_000), "a number of connections")
    """Of these from one address; many users may share one behind a NAT or relay (SEC-02). Default 1000."""

    msrp_bind_seconds: int = _setting("IM_MSRP_BIND_SECONDS", 30, _whole(1, 3600), "a number of seconds, 1 to 3600")
    """Time for an MSRP connection until a request names a session of ours, seconds (SEC-02). Default 30."""

    msrp_peer_seconds: int = _setting("IM_MSRP_PEER_SECONDS", 40, _whole(1, 3600), "a number of seconds, 1 to 3600")
    """Time for a client to connect to its MSRP session once offer and answer are exchanged, seconds; then the session is
    released. Default 40: all retransmissions of SIP, and a slow network."""

    msrp_stall_seconds: int = _setting("IM_MSRP_STALL_SECONDS", 60, _whole(1, 3600), "a number of seconds, 1 to 3600")
    """Time for which an MSRP peer may take nothing of what waits for it, seconds; then it is cut (MED-08). Default 60."""

    http_seconds: int = _setting("IM_HTTP_SECONDS", 10, _whole(1, 3600), "a number of seconds, 1 to 3600")
    """Time for an HTTP request to come, its head and then its body, seconds; else it is cut (SEC-02). Default 10."""

    xcap_trusted_proxies: tuple[str, ...] = _setting(
        "IM_XCAP_TRUSTED_PROXIES", (), _peers, "IP addresses or networks, comma separated"
    )
    """Aggregation proxies whose asserted identities are believed (XDM-06). Default none."""

    xcap_max_size: int = _setting("IM_XCAP_MAX_SIZE", 262_144, _whole(1024, 8 << 20), "a number of bytes, 1024 to 8388608")
    """Largest body of a PUT, bytes: a list of some 2,000 entries. Default 262144."""

    xcap_user_rate: int = _setting("IM_XCAP_USER_RATE", 200, _ANY_COUNT, "a number of requests, 0 for no limit")
    """XCAP requests of one user in 10 seconds before it gets 429 (SEC-02); 0 is no limit. Default 200."""

    demo: bool = _setting("IM_DEMO", True, _yes_no, "1 or 0")
    """Whether a new database gets the demo users and group. Default 1."""

    sources: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False, repr=False)
    """Setting name to where its value came from: `environment` or the file. Absent: the default."""

    @classmethod
    def load(cls, environ: Mapping[str, str], file: str | Path | None = None) -> Config:
        """Configuration from `environ` over `file` (or the file that IM_CONFIG names) over the defaults.

        ConfigError names the setting that cannot be used, also one in the file that does not exist.
        """
        path = file if file is not None else environ.get("IM_CONFIG")
        in_file = _read_file(Path(path)) if path else {}
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for field in settings():
            name = field.metadata["setting"]
            text = environ.get(name, in_file.get(name))
            if text is None:
                continue
            sources[name] = "environment" if name in environ else str(path)
            try:
                values[field.name] = field.metadata["parse"](text)
            except ValueError:
                raise ConfigError(name, text, field.metadata["expected"]) from None
        config = cls(**values, sources=sources)
        config._check_together()
        return config

    def _check_together(self) -> None:
        """What no single setting can tell. ConfigError."""
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing = "IM_TLS_KEY" if self.tls_key is None else "IM_TLS_CERTIFICATE"
            raise ConfigError(missing, "", "a PEM file, as certificate and key come together")
        if not self.settings_min_expires <= self.settings_expires <= self.settings_max_expires:
            raise ConfigError(
                "IM_SETTINGS_EXPIRES",
                str(self.settings_expires),
                f"IM_SETTINGS_MIN_EXPIRES to IM_SETTINGS_MAX_EXPIRES, "
                f"now {self.settings_min_expires} to {self.settings_max_expires}",
            )
        longest = max(len(bytes(path)) for path in (self.question_socket, self.kamailio_rpc_socket))
        if longest > LONGEST_UNIX_SOCKET_PATH:
            raise ConfigError(
                "IM_STATE_DIR",
                str(self.state_dir),
                f"a path at least {longest - LONGEST_UNIX_SOCKET_PATH} bytes shorter, as sockets live in it",
            )

    @property
    def database_url(self) -> str:
        """`sqlite:///absolute/path` or `postgresql://…`."""
        if self.database.startswith("postgresql://"):
            return self.database
        name = self.database.removeprefix("sqlite://") or "im.sqlite"
        return f"sqlite://{(self.state_dir / name).absolute()}"

    @property
    def database_shown(self) -> str:
        """The database URL for logs and eyes: without a password."""
        return _shown(self.database_url)

    @property
    def question_socket(self) -> Path:
        """AF_UNIX SEQPACKET socket on which Kamailio asks the worker."""
        return self.state_dir / "question.sock"

    @property
    def kamailio_rpc_socket(self) -> Path:
        """AF_UNIX datagram socket of Kamailio's JSON-RPC."""
        return self.state_dir / "kamailio-rpc.sock"

    @property
    def tls_enabled(self) -> bool:
        """Whether the TLS ports are served."""
        return self.tls_certificate is not None

    @property
    def sip_port(self) -> int:
        """SIP core, udp and tcp."""
        return 5060 + self.port_offset

    @property
    def sips_port(self) -> int:
        """SIP core over TLS."""
        return 5061 + self.port_offset

    @property
    def originating_port(self) -> int:
        """IM server, originating side, for a separate core (COR-05)."""
        return 5070 + self.port_offset

    @property
    def terminating_port(self) -> int:
        """IM server, terminating side, for a separate core (COR-05)."""
        return 5072 + self.port_offset

    @property
    def control_port(self) -> int:
        """Worker to Kamailio, loopback only."""
        return 5090 + self.port_offset

    @property
    def msrp_port(self) -> int:
        """MSRP over tcp."""
        return 2855 + self.port_offset

    @property
    def msrps_port(self) -> int:
        """MSRP over TLS."""
        return 2856 + self.port_offset

    @property
    def http_port(self) -> int:
        """XCAP, admin, metrics, MSRP over WebSocket."""
        return HTTP_PORT + self.port_offset

    @property
    def xcap_roots(self) -> tuple[str, ...]:
        """XCAP root URIs of this server: references to them are references to its own documents."""
        listen = f"[{self.listen}]" if ":" in self.listen else self.listen
        usual = tuple(f"http://{host}:{self.http_port}/xcap" for host in (self.domain, listen))
        return (self.xcap_root, *usual) if self.xcap_root else usual


def settings() -> list[dataclasses.Field[Any]]:
    """The fields of Config that are settings, in order; `metadata["setting"]` is the name."""
    return [field for field in dataclasses.fields(Config) if "setting" in field.metadata]


def effective(config: Config) -> list[tuple[str, str, str]]:
    """Rows (setting, value, source) for an operator's eyes; a password in the database URL is hidden."""
    rows = []
    for field in settings():
        name = field.metadata["setting"]
        value = config.database_shown if name == "IM_DATABASE" else getattr(config, field.name)
        rows.append((name, _shown(value), config.sources.get(name, "default")))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(value)
    if value is None:
        return ""
    # Greedy up to the last "@": a password may hold an unescaped one.
    text = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", str(value))
    return re.sub(r"([?&](?:password|sslpassword)=)[^&]*", r"\1***", text)


def _read_file(path: Path) -> dict[str, str]:
    """Settings of a file of `NAME = value` lines, `#` comments. ConfigError names a line that is neither."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("IM_CONFIG", str(path), f"a readable UTF-8 file ({error})") from None
    known = {field.metadata["setting"] for field in settings()}
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
        if not content:
            continue
        name, separator, value = content.partition("=")
        name = name.strip()
        if not separator:
            raise ConfigError(f"{path}:{number}", content, "a line `NAME = value`")
        if name not in known:
            raise ConfigError(f"{path}:{number}", name, "the name of a setting")
        values[name] = value.strip()
    return values
