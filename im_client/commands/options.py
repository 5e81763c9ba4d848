"""What the commands share: options, the configuration made of them, and how a failure is told."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from ..config import ClientConfig, Contact
from ..transport import Target

PASSWORD_VARIABLE = "IM_PASSWORD"  # noqa: S105  (the name of a variable)

FAILED = 1
USAGE = 2  # as argparse does


def add_account(parser: argparse.ArgumentParser) -> None:
    """The options every command takes."""
    parser.add_argument("--identity", required=True, metavar="URI", help="your IM address, sip:alice@example.com")
    parser.add_argument(
        "--proxy",
        required=True,
        metavar="HOST:PORT",
        help="where requests go, like 127.0.0.1:5060 or '127.0.0.1:5061;transport=tls' (default udp)",
    )
    parser.add_argument("--password", help=f"password; better in the environment variable {PASSWORD_VARIABLE}")
    parser.add_argument("--username", default="", help="name for authentication (default: user part of the identity)")
    parser.add_argument("--display-name", default="", metavar="NAME", help="shown to recipients")
    parser.add_argument(
        "--local", default="", metavar="IP[:PORT]", help="local address (default: the one towards the proxy)"
    )
    parser.add_argument("--tls-ca", type=Path, metavar="FILE", help="PEM file of the authorities to trust")
    parser.add_argument("--tls-no-verify", action="store_true", help="accept any certificate (tests only)")
    parser.add_argument("--msrp-websocket", default="", metavar="URL", help="MSRP over WebSocket, as browsers do")
    parser.add_argument("--xcap-root", default="", metavar="URL", help="root of your documents (default: by the proxy)")
    parser.add_argument(
        "--msrps", action="store_true", help="MSRP over TLS, by default with a certificate made for this run"
    )
    parser.add_argument("--msrps-certificate", type=Path, metavar="FILE", help="PEM file of the certificate to show there")
    parser.add_argument("--msrps-key", type=Path, metavar="FILE", help="PEM file of its private key")
    parser.add_argument("--log", default="error", choices=("debug", "info", "warning", "error"), help="what to log")


def add_registration(parser: argparse.ArgumentParser) -> None:
    """The options of commands that register."""
    parser.add_argument("--instance", default="", metavar="URN", help="+sip.instance of this device, urn:uuid:…")
    parser.add_argument("--group-advertisements", action="store_true", help="register as a device that takes them")
    parser.add_argument("--no-im", action="store_true", help="register without the IM feature tag")


def make_config(options: argparse.Namespace) -> ClientConfig:
    """Raises ValueError with the option at fault."""
    local_host, local_port = parse_local(options.local)
    config = ClientConfig(
        identity=options.identity,
        proxy=Target.parse(options.proxy),
        password=options.password or os.environ.get(PASSWORD_VARIABLE, ""),
        username=options.username,
        display_name=options.display_name,
        local_host=local_host,
        local_port=local_port,
        tls_ca=options.tls_ca,
        tls_verify=not options.tls_no_verify,
        msrp_websocket=options.msrp_websocket,
        xcap=options.xcap_root,
        msrps=options.msrps,
        msrps_certificate=options.msrps_certificate,
        msrps_key=options.msrps_key,
    )
    if "no_im" not in options:
        return config
    contact = Contact(
        instance_id=options.instance,
        feature_tag=not options.no_im,
        group_advertisements=options.group_advertisements,
    )
    return replace(config, contacts=(contact,))


def parse_local(text: str) -> tuple[str, int]:
    """`IP[:PORT]`, IPv6 in brackets where a port follows. Raises ValueError."""
    if text.count(":") > 1 and not text.startswith("["):
        return text, 0
    host, _, rest = text[1:].partition("]") if text.startswith("[") else text.partition(":")
    port = rest.removeprefix(":")
    if port and (not port.isdecimal() or int(port) > 65535):
        raise ValueError(f"--local {text!r}: expected IP or IP:PORT")
    return host, int(port or 0)


def clean(text: str) -> str:
    """Text from others as it may stand on a terminal: without control characters."""
    return "".join(char if char.isprintable() else "?" for char in text)


def fail(error: object) -> int:
    """Tell what went wrong on standard error; the exit status."""
    print(f"im_client: {error}", file=sys.stderr)
    return FAILED
