"""`make run`: one instance in the foreground, with what to try; Ctrl-C stops both processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from msrp_worker.config import Config, ConfigError
from tools.claims import ClaimError, check_ports, state_directory
from tools.deployment import Deployment, DeploymentError

WATCH_SECONDS = 0.5


def describe(config: Config) -> str:
    """Where the instance listens and what to try first."""
    host = config.listen
    lines = [
        "",
        f"The IM server of {config.domain} is running.",
        f"  SIP        {host}:{config.sip_port} udp tcp" + (f", {config.sips_port} tls" if config.tls_enabled else ""),
    ]
    if config.trusted_peers:
        peers = ", ".join(config.trusted_peers)
        lines.append(f"  IM server  {host}:{config.originating_port}/{config.terminating_port} udp tcp, for {peers}")
    lines += [
        f"  MSRP       {host}:{config.msrp_port} tcp" + (f", {config.msrps_port} tls" if config.tls_enabled else ""),
        f"  HTTP       http://{host}:{config.http_port}/xcap/ /healthz /readyz /metrics",
        f"  State      {config.state_dir} (database, sockets)",
        "",
        "Try, in two more terminals:",
        f"  .venv/bin/python -m im_client listen --identity sip:bob@{config.domain} --password bob-secret"
        f" --proxy {host}:{config.sip_port}",
        f"  .venv/bin/python -m im_client send --identity sip:alice@{config.domain} --password alice-secret"
        f" --proxy {host}:{config.sip_port} sip:bob@{config.domain} 'Hello Bob'",
        "Stop bob and send again: the message is kept, and listed by",
        "  .venv/bin/python -m msrp_worker deferred list bob",
        "Ctrl-C stops the server.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run until interrupted or until a process dies; exit status 0 when stopped by hand."""
    try:
        deployment = Deployment(os.environ)
        with state_directory(deployment.config):
            check_ports(deployment.config)
            return _run(deployment)
    except (ConfigError, ClaimError, DeploymentError) as error:
        print(error, file=sys.stderr)
        return 1


def _run(deployment: Deployment) -> int:
    print(deployment.initialise(), end="", flush=True)
    print("Starting the worker and Kamailio …", flush=True)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        deployment.start()
        print(describe(deployment.config), flush=True)
        while not stopped.wait(WATCH_SECONDS):
            for process in (deployment.kamailio, deployment.worker):
                if not process.running():
                    print(f"{process.name} has ended, stopping", file=sys.stderr)
                    return 1
    finally:
        deployment.stop()
    print("stopped")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
