"""`python -m msrp_worker`: the worker itself and the operator's commands."""

from __future__ import annotations

import sys

from msrp_worker.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
