"""The settings of a deployment: every variable, its default, and what is refused."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from ifcb_flow_pipeline.bins.archive import DEFAULT_EXCLUDED
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.store.archive import DEFAULT_SETTLE
from ifcb_flow_pipeline.store.settings import DEFAULT_HOME, DEFAULT_START_DAY, Settings, SettingsError, start_day


def settings(**environment: str) -> Settings:
    return Settings.from_environment(environment)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"PATH": "/bin", "IFCB_UNKNOWN": "7"},
        # A compose file hands on what is not set as an empty text.
        dict.fromkeys(
            ("IFCB_FLOW_HOME", "IFCB_DATA_DIR", "IFCB_SETTLE_SECONDS", "IFCB_READER", "IFCB_START_DAY",
             "IFCB_CLOUD_DAYS", "IFCB_TRIGGERS", "IFCB_ASPECT_RATIO", "IFCB_FRAMES"), ""
        ),
    ],
)  # fmt: skip
def test_without_variables_everything_has_its_default(environment):
    found = Settings.from_environment(environment)
    assert found.home == Path.cwd() / DEFAULT_HOME
    assert found.archive.root == found.home / "archive"
    assert found.archive.exclude == DEFAULT_EXCLUDED
    assert found.archive.settle == DEFAULT_SETTLE
    assert found.archive.reader == "native"
    assert found.start_day == DEFAULT_START_DAY
    assert found.features == FeatureSettings("images", 1.36)
    assert found.cloud_days is None


def test_clouds_can_be_kept_for_some_weeks_only():
    assert settings(IFCB_CLOUD_DAYS="28").cloud_days == 28


def test_home_and_archive_are_absolute_and_the_archive_lies_in_the_home_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings(IFCB_FLOW_HOME="flow").home == tmp_path / "flow"
    assert settings(IFCB_FLOW_HOME="/srv/flow").archive.root == Path("/srv/flow/archive")
    found = settings(IFCB_FLOW_HOME="/srv/flow", IFCB_DATA_DIR="raw")
    assert (found.home, found.archive.root) == (Path("/srv/flow"), tmp_path / "raw")


@pytest.mark.parametrize(
    ("text", "names"),
    [("beads", {"beads"}), (" beads , Cultures,,", {"beads", "Cultures"}), ("", set()), (" , ", set())],
)
def test_excluded_directories_are_a_list_with_commas_which_may_be_empty(text, names):
    assert settings(IFCB_EXCLUDE=text).archive.exclude == names


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("1.5", 1.5), ("86400", 86_400), (" 60 ", 60)])
def test_the_time_to_settle_is_in_seconds(text, seconds):
    assert settings(IFCB_SETTLE_SECONDS=text).archive.settle == timedelta(seconds=seconds)


@pytest.mark.parametrize("reader", ["native", "pyifcb"])
def test_the_reader_can_be_chosen(reader):
    assert settings(IFCB_READER=reader).archive.reader == reader


def test_the_first_day_can_be_set():
    assert settings(IFCB_START_DAY="2023-08-10").start_day == date(2023, 8, 10)
    assert start_day({"IFCB_START_DAY": "2006-06-01"}) == date(2006, 6, 1)
    assert start_day({}) == DEFAULT_START_DAY


@pytest.mark.parametrize("triggers", ["images", "all"])
def test_what_counts_as_a_point_can_be_set(triggers):
    assert settings(IFCB_TRIGGERS=triggers).features == FeatureSettings(triggers, 1.36)


def test_the_aspect_ratio_can_be_set():
    assert settings(IFCB_ASPECT_RATIO="1", IFCB_TRIGGERS="all").features == FeatureSettings("all", 1.0)


def test_frames_of_single_instruments_can_be_set():
    found = settings(IFCB_FRAMES="IFCB160=1360x1840, IFCB5=1381x1034").features
    assert found.frame_px("IFCB160", "v2") == (1360, 1840)
    assert found.frame_px("IFCB5", "v1") == (1381, 1034)
    assert found.frame_px("IFCB134", "v2") == (1360, 1024)


@pytest.mark.parametrize(
    ("variable", "bad"),
    [
        *(("IFCB_SETTLE_SECONDS", text) for text in ("soon", "-1", "86401", "nan", "inf", "1,5")),
        *(("IFCB_READER", text) for text in ("pandas", "Native", "native,pyifcb")),
        *(("IFCB_START_DAY", text) for text in ("10.8.2023", "2023-02-30", "2023", "today")),
        *(("IFCB_TRIGGERS", text) for text in ("image", "ALL")),
        *(("IFCB_CLOUD_DAYS", text) for text in ("27", "0", "-30", "30.5", "ever")),
        *(("IFCB_FRAMES", text) for text in ("1360x1840", "IFCB160=1360", "IFCB160=0x1024", "IFCB160:1360x1840")),
        *(("IFCB_ASPECT_RATIO", text) for text in ("0", "-1.36", "nan", "inf", "4:3", "1,36")),
    ],
)
def test_a_value_without_meaning_is_refused_with_its_variable_and_what_is_expected(variable, bad):
    with pytest.raises(SettingsError, match=f"^{variable} is .*must be") as refused:
        settings(**{variable: bad})
    assert repr(bad) in str(refused.value)
