"""Entry script of app_python3: `modparam("app_python3", "load", ".../kemi/im.py")`.

Kamailio re-executes only this file on `app_python.reload`, so the package's modules are dropped first to load anew.
"""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)
for _name in [name for name in sys.modules if name == "kemi" or name.startswith("kemi.")]:
    del sys.modules[_name]

from kemi.app import App  # noqa: E402


def mod_init() -> App:
    """Called by Kamailio in the main process and, after a reload, in each."""
    return App()
