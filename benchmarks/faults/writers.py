"""Kills of a process that writes tables, decisions and models, and two such processes at once.

After a kill every stored file can be read and is of one writer, every decision that was reported as kept is there, and
the model in use is that of the history and can be loaded.
"""

import multiprocessing
import random
from collections.abc import Callable
from datetime import UTC, date, datetime
from multiprocessing.process import BaseProcess
from threading import Event
from typing import Any

import numpy as np

from benchmarks.faults.outcome import Outcome
from benchmarks.faults.site import TABLES, Site
from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.detection.model_card import ForestSettings
from ifcb_flow_pipeline.detection.reference.model import Model, TrainingSet, train_model
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.store.daily import StoreError
from ifcb_flow_pipeline.store.labels import Label, LabelStore
from ifcb_flow_pipeline.store.models import ModelStore

#: A writer is killed up to so many seconds after its first decision.
_LATEST_SECONDS = 1.5

_PATIENCE_SECONDS = 300.0
_PID = "D20230810T113059_IFCB134"


def writer_kills(site: Site, n: int, rng: random.Random, tell: Callable[[str], object]) -> Outcome:
    """Kill a writing process n times, on the same data folder."""
    wanted, kept, survived = site.features(), 0, 0
    for number in range(n):
        writer, told = _started(site)
        if not told.poll(_PATIENCE_SECONDS):
            raise RuntimeError("the writer does not start")
        Event().wait(rng.uniform(0.0, _LATEST_SECONDS))  # any moment of a write
        writer.kill()
        writer.join()
        kept += _count(told)
        problem = _damage(site, kept) or ("" if site.features() == wanted else "features differ")
        survived += not problem
        # What was written, but killed before it could be reported, counts from now on.
        kept = len(LabelStore(site.home / "labels.sqlite").history(_PID))
        if problem or number % 10 == 9:
            tell(f"kill {number + 1} of a writer: {problem or 'right'}; {kept} decisions")
    site.make()
    return Outcome("kills of a process that writes", n, survived if site.up_to_date() else 0)


def two_writers(site: Site, n: int, rng: random.Random) -> Outcome:
    """Two processes write the same days at once, while this one reads: whatever is read is whole."""
    wanted, survived = site.features(), 0
    for _ in range(n):
        writers = [_started(site) for _ in range(2)]
        alive = all(told.poll(_PATIENCE_SECONDS) for _, told in writers)
        reads = [site.features() == wanted and not _unreadable(site) for _ in range(rng.randint(1, 3))]
        alive = alive and all(writer.is_alive() for writer, _ in writers)
        for writer, _ in writers:
            writer.kill()
            writer.join()
        survived += alive and all(reads)
    return Outcome("two writers of the same days", n, survived)


def _started(site: Site) -> tuple[BaseProcess, Any]:
    context = multiprocessing.get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    writer = context.Process(target=_write_for_ever, args=(site, tell), daemon=True)
    writer.start()
    tell.close()
    return writer, told


def _write_for_ever(site: Site, tell: Any) -> None:
    """All steps of all days, a decision after each, and another model in use after each round."""
    decisions, models = LabelStore(site.home / "labels.sqlite"), ModelStore(site.home / "models")
    trained = [_model(seed) for seed in range(2)]
    while True:
        for model in trained:
            listing = site.archive.scan()
            for day in listing.days:
                with site.tables.alone(day):
                    days.write_inventory(site.tables, site.archive, listing, day)
                    days.write_clouds(site.tables, site.archive, day)
                    days.write_features(site.tables, FeatureSettings(), day)
                decisions.add([Label(_PID, "good", (), f"of {day}", "writer", datetime.now(UTC), "triage")])
                tell.send(1)
            models.save(model)
            models.promote(model.card.model_id, "writer")


def _count(told: Any) -> int:
    """How many decisions were reported as kept."""
    n = 0
    try:
        while told.poll():
            n += told.recv()
    except EOFError:
        pass
    return n


def _damage(site: Site, n_decisions: int) -> str:
    """What a kill has damaged; empty where nothing is."""
    if unreadable := _unreadable(site):
        return f"cannot be read: {unreadable}"
    found = len(LabelStore(site.home / "labels.sqlite").history(_PID))
    if found < n_decisions:
        return f"{n_decisions - found} decisions are lost"
    models = ModelStore(site.home / "models")
    current, history = models.current_id(), models.history()
    if current is not None:
        models.load(current)
    if history and current not in {change.model_id for change in history[-2:]}:
        return f"the model in use is {current}, the history ends with {history[-1].model_id}"
    return ""


def _unreadable(site: Site) -> str:
    for table in TABLES:
        for day in site.tables.days(table):
            try:
                site.tables.check(table, day)
            except StoreError as error:
                return str(error)
    return ""


def _model(seed: int) -> Model:
    n = 20
    training = TrainingSet(
        [f"bin{i}" for i in range(n)], ["IFCB134"] * n, [date(2023, 8, 10)] * n,
        np.random.default_rng(seed).normal(size=(n, 2)), ("mean_x", "mean_y"), FeatureSettings(),
    )  # fmt: skip
    return train_model(training, ForestSettings(n_estimators=5), datetime(2023, 8, 10, tzinfo=UTC), {})
