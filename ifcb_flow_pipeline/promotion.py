"""How a new model comes into use: it is compared with the one in use on stored bins, and taken or refused.

The first model is taken without a comparison. A worse one stays what it is, a kept model that somebody may still
promote on purpose.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import pyarrow as pa

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.days import CLOUD_COLUMNS
from ifcb_flow_pipeline.detection.model_card import ModelCard, ModelError
from ifcb_flow_pipeline.detection.open_model import AnyModel
from ifcb_flow_pipeline.detection.trial.comparison import Comparison, compare_models, healthy_rows
from ifcb_flow_pipeline.detection.trial.fault_injection import INJECTED, inject
from ifcb_flow_pipeline.feature_rows import IDENTITY, feature_row
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.store.clouds import CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.tables import BIN_FEATURES

#: Models are compared on the bins of so many days, the latest that have features: what they will be used for.
COMPARED_DAYS = 28

#: Faults are planted into so many bins: a change of one in twenty then shows, and it takes seconds.
PLANTED_BINS = 40

#: What a header says of a run, which a fault planted into its rows does not change.
_OF_THE_BIN_AS_IT_WAS = ("trigger_count", "roi_count", "inhibit_time_s")


class WorseModelError(ModelError):
    """A model that is not put to use; the message says in what it is worse."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a challenger. ``comparison``: None where there was nothing to compare it with, as ``text`` says."""

    passed: bool
    text: str
    comparison: Comparison | None = None


def promote(
    models: ModelStore,
    tables: DailyTables,
    labels: Mapping[str, str],
    settings: FeatureSettings,
    model_id: str,
    *,
    who: str,
    note: str = "",
    even_if_worse: bool = False,
) -> Trial:
    """Put a kept model to use, compared as ``try_challenger`` does.

    Raises WorseModelError where it is worse, unless it is wanted all the same.
    """
    trial = try_challenger(models, tables, models.load(model_id), labels, settings)
    if not (trial.passed or even_if_worse):
        raise WorseModelError(f"{model_id} is {trial.text}: to activate it anyway, set even-if-worse")
    models.promote(model_id, who, note or trial.text)
    return trial


def try_challenger(
    models: ModelStore,
    tables: DailyTables,
    challenger: AnyModel,
    labels: Mapping[str, str],
    settings: FeatureSettings,
) -> Trial:
    """Compare a model with the one in use, on the latest stored bins.

    ``labels``: what people decided about bins, see ``store.labels``. ``settings``: how features are made now.
    """
    current = models.current_id()
    if current is None:
        return Trial(True, "no model is active yet: this is the first")
    if current == challenger.card.model_id:
        return Trial(True, "it is the active model")
    try:
        champion = models.load(current)
        champion.check_usable(settings)
    except ModelError as error:
        return Trial(True, f"the active model can no longer score bins ({error})")
    challenger.check_usable(settings)
    features = recent_features(tables, settings)
    healthy = healthy_rows(features, champion.judge(features), labels, PLANTED_BINS)
    planted = planted_rows(tables, healthy, settings)
    comparison = compare_models(champion, challenger, features, planted, labels)
    if comparison.worse:
        return Trial(False, f"worse than {current}: it " + "; it ".join(comparison.worse), comparison)
    return Trial(True, f"no worse than {current} on {comparison.n_bins} bins", comparison)


def label_summary(card: ModelCard) -> str:
    """How well a model's verdicts agree with people's decisions, in a line; empty where it was taught none."""
    found = card.metrics.get("labels")
    if not found:
        return ""
    shares = {name: "unknown" if found[name] is None else f"{found[name]:.0%}" for name in ("precision", "recall")}
    return (
        f"by people's decisions about {found['n_good']} good and {found['n_bad']} bad bins: "
        f"precision {shares['precision']}, recall {shares['recall']}"
    )


def recent_features(tables: DailyTables, settings: FeatureSettings) -> pa.Table:
    """The rows of ``bin_features`` of the latest days that were made with these settings."""
    made = tables.days(BIN_FEATURES)
    first = made[-1] - timedelta(days=COMPARED_DAYS - 1) if made else None
    parts = []
    for day in made:
        if first is None or day < first:
            continue
        made_of = tables.provenance(BIN_FEATURES, day)
        if made_of is not None and FeatureSettings(**made_of.made_of) == settings:
            rows = tables.read(BIN_FEATURES, day)
            parts += [] if rows is None else [rows]
    return pa.concat_tables(parts) if parts else BIN_FEATURES.schema.empty_table()


def planted_rows(tables: DailyTables, healthy: pa.Table, settings: FeatureSettings) -> dict[str, pa.Table]:
    """By fault, rows of ``bin_features`` of the same bins with the fault planted into their stored clouds.

    Bins whose clouds have been deleted are left out.
    """
    clouds = CloudTables(tables)
    rows: dict[str, list[dict]] = {fault: [] for fault in INJECTED}
    for row in healthy.select([*IDENTITY, "has_roi"]).to_pylist():
        bin_id = parse_pid(row["pid"])
        try:
            entry, columns = clouds.read_one(bin_id.day, row["pid"], CLOUD_COLUMNS)
        except (FileNotFoundError, KeyError):
            continue
        # The header's counts and its blind time are of the bin as it was.
        header = {name: value for name, value in entry.header.items() if name not in _OF_THE_BIN_AS_IT_WAS}
        for fault in INJECTED if columns is not None else ():
            planted = inject(fault, columns or {}, bin_id.schema, seed=zlib.crc32(row["pid"].encode()))
            rows[fault].append(feature_row(replace(entry, header=header), planted, settings) | row)
    return {fault: pa.Table.from_pylist(found, schema=healthy.schema) for fault, found in rows.items()}
