"""The worker's HTTP side: health, readiness and metrics. The admin API and XCAP mount on the same application."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector


class Reading(NamedTuple):
    """One value: a name that ends in `_total` is a counter, else a gauge; `label` is a name and a value, or empty."""

    name: str
    text: str
    value: float
    label: tuple[str, str] = ("", "")


Readings = Callable[[], Iterable[Reading]]
PREFIX = "im_"


class _Collected(Collector):
    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, text, value, (label, of) in self._readings():
            family = families.get(name)
            if family is None:
                kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                family = kind(PREFIX + name.removesuffix("_total"), text, labels=[label] if label else [])
                families[name] = family
            family.add_metric([of] if label else [], float(value))
        return families.values()


def application(ready: Callable[[], str], readings: Readings) -> web.Application:
    """The application. `ready` returns an empty string when ready, else what is missing, in words."""
    registry = CollectorRegistry()
    registry.register(_Collected(readings))

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        missing = ready()
        return web.Response(text=f"{missing or 'ready'}\n", status=503 if missing else 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app
