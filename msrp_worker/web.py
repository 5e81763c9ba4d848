"""The worker's HTTP side: health, readiness and metrics. The admin API and XCAP mount on the same application."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

Readings = Callable[[], Iterable[tuple[str, str, float]]]
"""Rows (name, help, value); a name that ends in `_total` is a counter, else a gauge."""
PREFIX = "im_"


class _Collected(Collector):
    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        for name, text, value in self._readings():
            if name.endswith("_total"):
                yield CounterMetricFamily(PREFIX + name.removesuffix("_total"), text, value=value)
            else:
                yield GaugeMetricFamily(PREFIX + name, text, value=value)


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
