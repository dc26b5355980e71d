"""What Prometheus is told.

Counts of verdicts are added up per batch; what the parts count themselves (pool,
store) is read when somebody asks. Labels are bounded: names and versions of the
bundles that are here, outcomes, tiers. No text of an item ever becomes a label.
"""

from collections.abc import Iterable
from dataclasses import asdict, fields

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from countermark_service.assembly import Service
from countermark_service.bundles import Bundle
from countermark_service.judge.counters import ModelCounters
from countermark_service.log_lines import dropped_lines
from countermark_service.model import Outcome, Verdict
from countermark_service.scoring import Run

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_ITEMS = (1, 4, 16, 64, 256, 1024, 4096)
_JUDGE_EVENTS = [one.name for one in fields(ModelCounters) if one.name not in ("failures", "waiting")]


class Metrics:
    """Counters of one app."""

    def __init__(self, service: Service) -> None:
        """Count for `service`; its parts are read at each scrape."""
        self._registry = CollectorRegistry()
        labels = ["verifier", "version"]
        self._items = Counter(
            "countermark_items", "Verdicts given", [*labels, "outcome", "cached"], registry=self._registry
        )
        self._batch = Histogram(
            "countermark_batch_items", "Items of a batch request", buckets=_ITEMS, registry=self._registry
        )
        self._requests = Histogram(
            "countermark_request_seconds",
            "Time of a request, from its first byte to its last",
            ["route", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._registry.register(_Parts(service))
        self._counters: dict[tuple[str, str, Outcome, bool], Counter] = {}
        self._timers: dict[tuple[str, int], Histogram] = {}

    def count_batch(self, bundle: Bundle, run: Run) -> None:
        """Count the verdicts of one batch."""
        self._batch.observe(run.items)
        for (outcome, cached), count in run.outcomes.items():
            self._verdicts(bundle, outcome, cached).inc(count)

    def count(self, bundle: Bundle, verdict: Verdict, *, cached: bool = False) -> None:
        """Count one verdict of a stream."""
        self._verdicts(bundle, verdict.outcome, cached).inc()

    def _verdicts(self, bundle: Bundle, outcome: Outcome, cached: bool) -> Counter:
        """Return the counter of some verdicts; finding one by its labels costs more than counting."""
        key = (bundle.manifest.name, bundle.manifest.version, outcome, cached)
        found = self._counters.get(key)
        if found is None:
            found = self._counters[key] = self._items.labels(*key[:2], outcome.value, str(cached).lower())
        return found

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (route, status)
        found = self._timers.get(key)
        if found is None:
            found = self._timers[key] = self._requests.labels(route, str(status))
        found.observe(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self._registry)


class _Parts(Collector):
    """Reads the parts' own counters at each scrape."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        """Yield every family."""
        yield from self._verifiers()
        yield from self._pool()
        yield from self._store()
        yield from self._runs()
        yield from self._judges()
        yield CounterMetricFamily(
            "countermark_log_lines_dropped", "Log lines that nobody read in time", value=dropped_lines()
        )

    def _verifiers(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(
            "countermark_verifier_info", "Verifiers of this service", labels=["verifier", "version", "digest"]
        )
        for bundle in self._service.scorer.registry:
            info.add_metric([bundle.manifest.name, bundle.manifest.version, bundle.digest], 1)
        yield info

    def _pool(self) -> Iterable[Metric]:
        pool = self._service.pool
        depth = GaugeMetricFamily(
            "countermark_queue_depth", "Items that wait for a worker", labels=["verifier"]
        )
        for ref, waiting in pool.depth().items():
            depth.add_metric([ref], waiting)
        yield depth
        yield GaugeMetricFamily("countermark_workers", "Live worker processes", value=len(pool.workers()))
        yield GaugeMetricFamily("countermark_slots_busy", "Slots that are taken", value=pool.busy)
        yield GaugeMetricFamily("countermark_slow_lane_busy", "Workers that run aside", value=pool.aside)
        counters = pool.counters
        yield CounterMetricFamily(
            "countermark_moved_aside", "Slow items moved aside", value=counters.moved_aside
        )
        yield CounterMetricFamily(
            "countermark_verifier_cpu_seconds", "CPU of verifiers", value=counters.cpu_seconds
        )
        ended = CounterMetricFamily("countermark_worker_restarts", "Ended workers", labels=["reason"])
        for reason, count in counters.restarts.items():
            ended.add_metric([reason], count)
        yield ended

    def _store(self) -> Iterable[Metric]:
        counters = self._service.scorer.store.counters
        family = CounterMetricFamily(
            "countermark_store_events", "What the verdict store did", labels=["event"]
        )
        for name, value in asdict(counters).items():
            family.add_metric([name], value)
        yield family
        down = self._service.scorer.store.degraded is not None
        yield GaugeMetricFamily(
            "countermark_store_degraded", "1 while the store does not answer", value=int(down)
        )

    def _runs(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "countermark_run_events", "What became of programs of raw runs", labels=["event"]
        )
        for name, value in asdict(self._service.runner.counters).items():
            family.add_metric([name], value)
        yield family

    def _judges(self) -> Iterable[Metric]:
        events = CounterMetricFamily(
            "countermark_judge_events", "What judging did", labels=["model", "event"]
        )
        failures = CounterMetricFamily(
            "countermark_judge_failures", "Questions that were given up", labels=["model", "code"]
        )
        waiting = GaugeMetricFamily("countermark_judge_waiting", "Questions under way", labels=["model"])
        for model, counters in self._service.judges.counters.models.items():
            waiting.add_metric([model], counters.waiting)
            for code, count in counters.failures.items():
                failures.add_metric([model, code], count)
            for name in _JUDGE_EVENTS:
                events.add_metric([model, name], getattr(counters, name))
        yield from (events, failures, waiting)
