"""Where the partitions begin: with what was processed, what the last look found, or the oldest bin of the archive."""

import os
from datetime import date
from pathlib import Path

import pytest

from ifcb_flow_pipeline.bins.archive import DEFAULT_EXCLUDED
from ifcb_flow_pipeline.store import first_day as module
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.first_day import first_day, oldest_day
from ifcb_flow_pipeline.store.settings import DEFAULT_START_DAY, Settings
from ifcb_flow_pipeline.store.survey import Budget, Surveyor
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, RAW_BINS

TODAY = date(2023, 9, 2)


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def settings(folder: Path, **wanted: str) -> Settings:
    return Settings.from_environment({"IFCB_FLOW_HOME": str(folder / "home"), "IFCB_DATA_DIR": str(folder)} | wanted)


@pytest.mark.parametrize(
    ("names", "oldest"),
    [
        ([], None),
        (["notes.txt", "D2020/readme.md"], None),
        (["D20230810T103000_IFCB134.adc", "D20210101T103000_IFCB134.hdr"], date(2021, 1, 1)),
        (["D2023/D20230810/D20230810T103000_IFCB134.adc", "D2021/D20210312/D20210312T1_IFCB7.roi"], date(2021, 3, 12)),
        (["IFCB7/2021/D20210312T120000_IFCB7.adc", "IFCB8/D20200607/D20200607T120000_IFCB8.adc"], date(2020, 6, 7)),
        (["IFCB1_2009_216/IFCB1_2009_216_075913.adc", "D2023/D20230810T103000_IFCB134.adc"], date(2009, 8, 4)),
        (["beads/D20060607T000000_IFCB1.adc", "D2023/D20230810T103000_IFCB134.adc"], date(2023, 8, 10)),
        (["D2010/empty.txt", "D2023/D20230810T103000_IFCB134.adc"], date(2023, 8, 10)),
    ],
)
def test_the_oldest_day_of_an_archive_is_found_in_any_layout(tmp_path: Path, names, oldest) -> None:
    put(tmp_path, *names)
    assert oldest_day(Archive(tmp_path, exclude=DEFAULT_EXCLUDED), Budget()) == oldest


def test_only_the_oldest_directories_are_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for year in range(2006, 2024):
        put(tmp_path, *(f"D{year}/D{year}0{m}12/D{year}0{m}12T103000_IFCB134.adc" for m in range(1, 10)))
    looked, really = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(Path(path).name) or really(path))
    assert oldest_day(Archive(tmp_path), Budget()) == date(2006, 1, 12)
    assert looked == [tmp_path.name, "D2006", "D20060112"]


def test_where_time_is_up_nothing_is_concluded(tmp_path: Path) -> None:
    put(tmp_path, "a/D20230810T103000_IFCB134.adc")
    assert oldest_day(Archive(tmp_path), Budget(-1)) is None


def test_what_was_processed_and_what_the_last_look_found_are_known_without_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = settings(tmp_path)
    assert first_day(found, TODAY) == DEFAULT_START_DAY
    put(tmp_path, "D20210101T103000_IFCB134.adc", "D20210101T103000_IFCB134.hdr")
    assert first_day(found, TODAY) == date(2021, 1, 1)
    assert Surveyor.of(found).survey((BIN_FEATURES,), Budget()).complete
    monkeypatch.setattr(module, "oldest_day", lambda *_: pytest.fail("the archive was looked into"))
    assert first_day(found, TODAY) == date(2021, 1, 1)
    for day in ("2022-03-01", "2020-12-31", "2020-11-30"):
        put(tmp_path, f"home/tables/{RAW_BINS.name}/{day[:4]}/{day}.parquet")
    assert first_day(found, TODAY) == date(2020, 11, 30)


def test_the_first_day_is_not_before_the_deployment_and_not_in_the_future(tmp_path: Path) -> None:
    put(tmp_path, "D20030101T103000_IFCB134.adc")
    assert first_day(settings(tmp_path), TODAY) == DEFAULT_START_DAY
    assert first_day(settings(tmp_path, IFCB_START_DAY="2022-01-01"), TODAY) == date(2022, 1, 1)
    later = tmp_path / "later"
    put(later, "D20990101T103000_IFCB134.adc")
    assert first_day(settings(later), TODAY) == TODAY
