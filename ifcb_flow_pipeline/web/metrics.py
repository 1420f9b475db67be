"""What Prometheus reads: names, labels and units by its conventions, https://prometheus.io/docs/practices/naming/."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ifcb_flow_pipeline.detection.model_card import ModelCard
from ifcb_flow_pipeline.recent import Recent
from ifcb_flow_pipeline.review.instruments import InstrumentState
from ifcb_flow_pipeline.store.tables import VERDICTS

PREFIX = "ifcb_flow_"


def exposition(recent: Recent, card: ModelCard | None, now: datetime, accept: str) -> tuple[bytes, str]:
    """The metrics at ``now`` in the format that the header Accept asks for, and the type of that format.

    ``card``: of the model in use, None where there is none.
    """
    registry = CollectorRegistry()
    registry.register(_Metrics(recent, card, now))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


@dataclass(frozen=True, slots=True, eq=False)  # a registry tells collectors apart by identity
class _Metrics(Collector):
    recent: Recent
    card: ModelCard | None
    now: datetime

    def collect(self) -> Iterator[Metric]:
        yield from self._of_instruments()
        yield from self._of_episodes()
        yield _single(
            "days_waiting", "Days of the last month that list bins without scores", len(self.recent.days_waiting)
        )
        yield _single("days_unreadable", "Days of the last month with a table that cannot be read",
                      len(self.recent.days_unreadable))  # fmt: skip
        yield from self._of_model()
        build = _gauge("build_info", "Version of ifcb-flow-pipeline", "version")
        build.add_metric([version("ifcb-flow-pipeline")], 1)
        yield build

    def _of_instruments(self) -> Iterator[Metric]:
        latest = _gauge("latest_bin_timestamp_seconds", "Start of the latest bin, scored or not", "instrument")
        scored = _gauge("latest_scored_bin_timestamp_seconds", "Start of the latest scored bin", "instrument")
        severity = _gauge("latest_severity", "Severity of the latest scored bin, 0 to 100: higher is worse; absent "
                          "where it was not judged", "instrument")  # fmt: skip
        bins = _gauge("bins", "Scored bins in the 24 hours that end with the latest of them", "instrument", "verdict")
        unreadable = _gauge(
            "unreadable", "Unreadable bins in the 7 days that end with the latest scored bin", "instrument"
        )
        for one in self.recent.instruments:
            latest.add_metric([one.instrument], one.last_start_time.timestamp())
            if one.last_scored is not None:
                scored.add_metric([one.instrument], one.last_scored.start_time.timestamp())
                if not math.isnan(one.last_scored.severity):
                    severity.add_metric([one.instrument], one.last_scored.severity)
                _add_bins(bins, one)
                unreadable.add_metric([one.instrument], one.n_unreadable)
        yield from (latest, scored, severity, bins, unreadable)

    def _of_episodes(self) -> Iterator[Metric]:
        ongoing = _gauge("episode_ongoing", "1 while a fault lasts, by its suspected cause", "instrument", "cause")
        start = _gauge(
            "episode_start_timestamp_seconds", "Start of the first bad bin of a fault that lasts", "instrument"
        )
        bad = _gauge("episode_bad_bins", "Bad bins of a fault that lasts", "instrument")
        # Only the last episode of an instrument can last.
        for episode in self.recent.episodes:
            if episode.ongoing:
                ongoing.add_metric([episode.instrument, episode.cause], 1)
                start.add_metric([episode.instrument], episode.start.timestamp())
                bad.add_metric([episode.instrument], episode.n_bad)
        yield from (ongoing, start, bad)

    def _of_model(self) -> Iterator[Metric]:
        if self.card is not None:
            info = _gauge("model_info", "The model in use", "model_id", "kind")
            info.add_metric([self.card.model_id, self.card.kind], 1)
            yield info
            age = self.now - datetime.fromisoformat(self.card.created)
            yield _single("model_age_seconds", "Time since the model in use was trained", age.total_seconds())


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, meaning, labels=labels)


def _single(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, meaning, value=value)


def _add_bins(bins: GaugeMetricFamily, one: InstrumentState) -> None:
    # Verdicts without bins are zeros: a series that comes and goes cannot be summed over time.
    for verdict in VERDICTS:
        bins.add_metric([one.instrument, verdict], one.bins.get(verdict, 0))
