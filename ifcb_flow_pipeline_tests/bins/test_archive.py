"""Archive listings: every layout, copies, strays, misplaced bins, and what a signature tells."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ifcb_flow_pipeline.bins.archive import (
    BinState,
    FoundFile,
    RawBin,
    Signatures,
    dated_spans,
    likely_day,
    list_bins,
    may_hold,
    next_change,
    signatures,
)
from ifcb_flow_pipeline.bins.pid import format_pid, parse_pid

NOW = datetime(2023, 8, 12, 12, tzinfo=UTC)
SETTLE = timedelta(seconds=120)
V1, V2 = "IFCB5_2012_028_081515", "D20230810T113059_IFCB134"
SIZES = {"adc": 1000, "hdr": 300, "roi": 50_000}


def nanoseconds(time: datetime) -> int:
    return int(time.timestamp()) * 1_000_000_000


def files_of(
    pid: str,
    directory: str = "",
    *,
    age: timedelta = timedelta(hours=1),
    **sizes: int | None,
) -> list[FoundFile]:
    """The files of one bin, whole unless a size says otherwise (None: the file is absent)."""
    mtime_ns = nanoseconds(NOW - age)
    return [
        FoundFile(directory, f"{pid}.{extension}", size, mtime_ns)
        for extension, size in {**SIZES, **sizes}.items()
        if size is not None
    ]


def only_bin(files: list[FoundFile]) -> RawBin:
    (raw,) = list_bins(files).bins
    return raw


# Layouts


def layouts_of(pid: str) -> list[str]:
    """The directories that pyifcb, the dashboard and instruments' software would put a bin into."""
    bin_id = parse_pid(pid)
    day = bin_id.day
    year, month, ymd = f"{day.year:04d}", f"{day.year:04d}{day.month:02d}", f"{day.year:04d}{day:%m%d}"
    if bin_id.schema == "v1":
        of_day = f"{bin_id.instrument}_{year}_{day:%j}"
        return ["", of_day, f"{year}/{of_day}", f"data/{year}/{of_day}", f"{bin_id.instrument}/{year}/{of_day}"]
    return [
        "",
        f"D{ymd}",
        f"{year}/D{ymd}",
        f"D{year}/D{ymd}",
        f"D{year}/D{month}/D{ymd}",
        f"data/{year}/D{month}/D{ymd}",
        f"{bin_id.instrument}/D{year}/D{ymd}",
        f"{year}/{bin_id.instrument}/D{ymd}",
        f"{year}/{day:%m}/{day:%d}",
        f"{year}/{day:%m%d}",
    ]


@pytest.mark.parametrize(("pid", "directory"), [(pid, directory) for pid in (V1, V2) for directory in layouts_of(pid)])
def test_a_bin_is_found_in_every_layout(pid, directory):
    listing = list_bins(files_of(pid, directory))
    assert [raw.bin_id.pid for raw in listing.bins] == [pid]
    raw = listing.bins[0]
    assert raw.directory == directory
    assert raw.path("adc") == str(PurePosixPath(directory, f"{pid}.adc"))
    assert (raw.size("adc"), raw.size("hdr"), raw.size("roi")) == (1000, 300, 50_000)
    assert raw.state(NOW, SETTLE) == BinState("ok", complete=True)
    assert listing.strays == ()


def test_a_file_that_is_absent_has_neither_path_nor_size():
    raw = only_bin(files_of(V2, roi=None))
    assert raw.path("roi") is None
    assert raw.size("roi") is None


def test_bins_are_listed_in_order_of_time_and_by_day_whatever_the_order_of_the_files():
    pids = [
        "IFCB5_2012_028_081515",
        "D20230810T113059_IFCB109",
        "D20230810T113059_IFCB134",
        "D20230810T235959_IFCB109",
        "D20230811T000000_IFCB109",
    ]
    listing = list_bins(found for pid in reversed(pids) for found in files_of(pid))
    assert [raw.bin_id.pid for raw in listing.bins] == pids
    assert listing.days == [date(2012, 1, 28), date(2023, 8, 10), date(2023, 8, 11)]
    assert [raw.bin_id.pid for raw in listing.of_day(date(2023, 8, 10))] == pids[1:4]
    assert listing.of_day(date(2020, 1, 1)) == []


def test_no_files_make_an_empty_listing():
    listing = list_bins([])
    assert (listing.bins, listing.strays, listing.days) == ((), (), [])


# Strays


def test_files_with_a_wrong_name_are_strays_and_files_of_other_kinds_are_nothing():
    files = [
        *files_of(V2, "D2023"),
        FoundFile("D2023", "notes.txt", 1, 0),
        FoundFile("D2023", f"{V2}.adc.tmp", 1, 0),
        FoundFile("D2023", "D20230810T113059.adc", 1, 0),
        FoundFile("", "D20230230T113059_IFCB134.hdr", 1, 0),
        FoundFile("", f"{V2} (copy).roi", 1, 0),
        FoundFile("", ".adc", 1, 0),
    ]
    listing = list_bins(files)
    assert len(listing.bins) == 1
    assert listing.strays == (
        ".adc",
        "D2023/D20230810T113059.adc",
        "D20230230T113059_IFCB134.hdr",
        f"{V2} (copy).roi",
    )


def test_extensions_may_be_written_in_capitals():
    raw = only_bin([FoundFile("", f"{V2}.ADC", 5, 0), FoundFile("", f"{V2}.Hdr", 5, 0)])
    assert raw.path("adc") == f"{V2}.ADC"
    assert raw.state(NOW, SETTLE).complete


# Names in another case


def test_a_name_in_another_case_is_the_bin_that_it_names_and_says_so():
    files = [*files_of(V2.lower(), roi=None, hdr=None), *files_of(V2, adc=None)]
    raw = only_bin(files)
    assert raw.bin_id.pid == V2
    assert set(raw.files) == {"adc", "hdr", "roi"}
    assert raw.path("adc") == f"{V2.lower()}.adc"
    assert raw.state(NOW, SETTLE) == BinState("ok", f"the name is in another case: {V2.lower()}.adc", complete=True)
    assert only_bin(files_of(V1.lower())).bin_id.pid == V1


@pytest.mark.parametrize("swap", [False, True])
def test_of_files_whose_names_differ_only_in_case_the_largest_is_used_and_the_others_are_named(swap):
    files = [*files_of(V2, adc=5), *files_of(V2.lower(), adc=7, hdr=None, roi=None), FoundFile("", f"{V2}.ADC", 6, 0)]
    raw = only_bin(files[::-1] if swap else files)
    assert (raw.size("adc"), raw.path("adc")) == (7, f"{V2.lower()}.adc")
    assert raw.unused == (f"{V2}.ADC", f"{V2}.adc")
    assert f"not used, as the name differs only in case: {V2}.ADC, {V2}.adc" in raw.state(NOW, SETTLE).reason


@pytest.mark.parametrize(
    ("pid", "era"),
    [("D20230814T113059_IFCB134", "in the future"), ("IFCB1_1999_028_081515", "before the first IFCB")],
)
def test_a_clock_that_cannot_be_right_is_told(pid, era):
    assert only_bin(files_of(pid)).state(NOW, SETTLE).reason.endswith(f"is {era}")


# Copies


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(
    ("best", "other", "why"),
    [
        (("z", {"adc": 1000}), ("D2023/D20230810", {"adc": 999}), "the larger .adc"),
        (
            ("D2023/D20230810", {"adc": 999}),
            ("D2022/z", {"adc": 1000}),
            "the one that is not misplaced, though smaller",
        ),
        (("z", {}), ("D2023/D20230810", {"hdr": None}), "the one that has a .hdr"),
        (("z", {"adc": 1}), ("D2023/D20230810", {"adc": None}), "the one that has an .adc"),
        # An empty .adc and none at all counted as equal.
        (("z", {"adc": 0}), ("D2023/D20230810", {"adc": None}), "the one that has an .adc, though empty"),
        (("z", {}), ("D2022/D202208/D20220810", {}), "the one that is not misplaced"),
        (("D2023/D20230810", {}), ("D2023", {}), "the more dated directories"),
        (("D2023", {}), ("", {}), "the dated directory"),
        (("a", {}), ("b", {}), "the first by name"),
        (("", {}), ("b", {}), "the top directory, which is the first by name"),
    ],
)
def test_of_two_copies_the_stated_rule_takes_one(best, other, why, swap):
    copies = [(best[0], best[1]), (other[0], other[1])]
    files = [found for place, sizes in (copies[::-1] if swap else copies) for found in files_of(V2, place, **sizes)]
    raw = only_bin(files)
    assert raw.directory == best[0], why
    assert raw.copies == (other[0],)


def test_the_files_of_a_bin_are_never_taken_from_two_copies():
    raw = only_bin([*files_of(V2, "a", adc=1000, hdr=None, roi=None), *files_of(V2, "b", adc=999)])
    assert raw.directory == "a"
    assert set(raw.files) == {"adc"}
    assert raw.state(NOW, SETTLE).reason == "the .hdr file is missing; 2 copies, took a"


def test_a_used_copy_says_that_there_are_others():
    raw = only_bin([*files_of(V2, "b"), *files_of(V2, "c"), *files_of(V2)])
    assert raw.copies == ("b", "c")
    assert raw.state(NOW, SETTLE) == BinState("ok", "3 copies, took the top directory", complete=True)


@given(st.permutations([found for place in ("", "a", "D2023", "D2022") for found in files_of(V2, place)]))
def test_the_order_of_files_does_not_decide_between_copies(files):
    raw = only_bin(files)
    assert raw.directory == "D2023"
    assert raw.copies == ("", "D2022", "a")


# States


@pytest.mark.parametrize(
    ("sizes", "state"),
    [
        ({}, BinState("ok", complete=True)),
        ({"roi": None}, BinState("ok", complete=True)),
        ({"adc": 0, "roi": 0}, BinState("ok", complete=True)),
        ({"hdr": None}, BinState("ok", "the .hdr file is missing")),
        ({"adc": None}, BinState("no_adc", "the .adc file is missing")),
        ({"adc": None, "hdr": None}, BinState("no_adc", "the .adc file is missing")),
    ],
)
def test_a_settled_bin_is_complete_with_adc_and_hdr_and_usable_with_adc(sizes, state):
    assert only_bin(files_of(V2, **sizes)).state(NOW, SETTLE) == state


@pytest.mark.parametrize(
    ("age_s", "status"),
    [(0, "unsettled"), (1, "unsettled"), (119, "unsettled"), (120, "ok"), (10**9, "ok"), (-1, "ok"), (-(10**7), "ok")],
)
def test_a_bin_settles_after_a_while_and_a_time_stamp_in_the_future_counts_as_settled(age_s, status):
    state = only_bin(files_of(V2, age=timedelta(seconds=age_s))).state(NOW, SETTLE)
    assert state.status == status
    assert state.complete == (status == "ok")
    if status == "unsettled":
        assert state.reason == "written less than 120 s ago, perhaps still growing"


@pytest.mark.parametrize("extension", ["adc", "hdr"])
def test_one_file_still_being_written_keeps_the_bin_unsettled(extension):
    files = [
        replace(found, mtime_ns=nanoseconds(NOW - timedelta(seconds=5))) if found.name.endswith(extension) else found
        for found in files_of(V2)
    ]
    raw = only_bin(files)
    assert raw.modified == NOW - timedelta(seconds=5)
    assert raw.state(NOW, SETTLE).status == "unsettled"
    assert raw.state(NOW + SETTLE, SETTLE).status == "ok"


def test_without_a_settling_time_a_file_of_this_second_is_settled():
    assert only_bin(files_of(V2, age=timedelta())).state(NOW, timedelta()).status == "ok"


@pytest.mark.parametrize(
    ("directory", "misplaced"),
    [
        ("D20230809", False),
        ("D20230811", False),
        ("D20230808", True),
        ("D20230812", True),
        ("D202307", True),
        ("D202308", False),
        ("2022", True),
        ("D2022/D20230810", True),
        ("D2023/D202308/D20220810", True),
        ("IFCB134_2023_222", False),
        ("IFCB134_2023_100", True),
        ("data/incoming", False),
    ],
)
def test_a_bin_is_misplaced_where_a_directory_states_another_date_by_more_than_a_day(directory, misplaced):
    raw = only_bin(files_of(V2, directory))
    state = raw.state(NOW, SETTLE)
    assert raw.misplaced == misplaced
    assert state.status == ("misplaced" if misplaced else "ok")
    assert state.complete == (not misplaced)
    if misplaced:
        assert state.reason == f"lies in {directory}, which states another date: move it"


@pytest.mark.parametrize(
    ("pid", "directory"),
    [
        ("D20230101T000000_IFCB134", "D2022"),
        ("D20221231T235959_IFCB134", "D2023"),
        ("D20230801T000000_IFCB134", "D202307"),
        ("D20240301T000000_IFCB134", "D202402"),
        ("IFCB5_2012_001_000000", "2011/IFCB5_2011_365"),
    ],
)
def test_a_day_of_slack_reaches_over_months_and_years(pid, directory):
    assert not only_bin(files_of(pid, directory)).misplaced


# Dates in directory names


@pytest.mark.parametrize(
    ("name", "span"),
    [
        ("2023", (date(2023, 1, 1), date(2023, 12, 31))),
        ("D2023", (date(2023, 1, 1), date(2023, 12, 31))),
        ("D202302", (date(2023, 2, 1), date(2023, 2, 28))),
        ("D202402", (date(2024, 2, 1), date(2024, 2, 29))),
        ("D202312", (date(2023, 12, 1), date(2023, 12, 31))),
        ("D20230810", (date(2023, 8, 10), date(2023, 8, 10))),
        ("IFCB5_2012_028", (date(2012, 1, 28), date(2012, 1, 28))),
        ("IFCB11_2012_366", (date(2012, 12, 31), date(2012, 12, 31))),
    ],
)
def test_a_dated_directory_stands_for_these_days(name, span):
    assert dated_spans(f"data/{name}/more") == [span]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "data",
        "202308",
        "20230810",
        "D202313",
        "D202300",
        "D20230230",
        "D202308101",
        "d2023",
        "D2023x",
        "2023\n",
        "IFCB5_2012_367",
        "IFCB5_2011_366",
        "IFCB5_2012_000",
        "IFCB5_2012_28",
        "\u0662\u0660\u0662\u0663",
        # Numbers that are no year of any IFCB: months and days, cruises. The first and the last years of
        # the calendar raised OverflowError, the others made bins "misplaced".
        "0000",
        "0001",
        "9999",
        "0810",
        "1305",
        "D0001",
        "D999912",
        "D99991231",
        "D00010101",
        "IFCB1_9999_365",
        "IFCB1_0001_001",
    ],
)
def test_other_names_state_no_date_and_are_never_left_out(name):
    assert dated_spans(f"data/{name}/more") == []
    assert may_hold(name, date(2023, 8, 10), date(2023, 8, 10))


@pytest.mark.parametrize(
    ("name", "first", "last", "held"),
    [
        ("D2023", date(2024, 1, 1), date(2024, 1, 1), True),
        ("D2023", date(2024, 1, 2), date(2024, 3, 1), False),
        ("D2023", date(2022, 1, 1), date(2022, 12, 31), True),
        ("D2023", date(2022, 1, 1), date(2022, 12, 30), False),
        ("D20230810", date(2023, 8, 11), date(2023, 8, 20), True),
        ("D20230810", date(2023, 8, 12), date(2023, 8, 20), False),
        ("D20230810", date(2023, 8, 1), date(2023, 8, 9), True),
        ("D20230810", date(2023, 8, 1), date(2023, 8, 8), False),
        ("D20230810", date(2000, 1, 1), date(2099, 1, 1), True),
        ("IFCB5_2012_028", date(2012, 2, 1), date(2012, 2, 1), False),
    ],
)
def test_a_directory_is_left_out_only_where_it_is_more_than_a_day_from_the_range(name, first, last, held):
    assert may_hold(name, first, last) == held


@given(
    start=st.datetimes(timezones=st.just(UTC)),
    instrument=st.integers(1, 9999),
    schema=st.sampled_from(["v1", "v2"]),
    before=st.integers(0, 400),
    after=st.integers(0, 400),
)
@example(start=datetime(1, 1, 1, tzinfo=UTC), instrument=1, schema="v2", before=0, after=0)
@example(start=datetime(9999, 12, 31, tzinfo=UTC), instrument=1, schema="v1", before=0, after=0)
@example(start=datetime(1000, 12, 31, tzinfo=UTC), instrument=1, schema="v2", before=0, after=0)
def test_a_bin_is_never_left_out_of_a_range_that_contains_its_day(start, instrument, schema, before, after):
    pid = format_pid(f"IFCB{instrument}", start, schema)
    day = start.date()
    first = date.fromordinal(max(day.toordinal() - before, 1))
    last = date.fromordinal(min(day.toordinal() + after, date.max.toordinal()))
    for directory in layouts_of(pid):
        assert all(may_hold(part, first, last) for part in PurePosixPath(directory).parts), directory
        assert not only_bin(files_of(pid, directory)).misplaced, directory


@given(start=st.datetimes(datetime(2004, 1, 1), datetime(2090, 1, 1)), days=st.integers(2, 5000))  # noqa: DTZ001 - given a zone below
def test_a_dated_directory_is_left_out_of_a_range_that_ends_long_before(start, days):
    pid = format_pid("IFCB134", start.replace(tzinfo=UTC))
    day = start.date()
    assert not may_hold(f"D{pid[1:9]}", day - timedelta(days=days + 10), day - timedelta(days=days))
    assert not may_hold(f"D{pid[1:9]}", day + timedelta(days=days), day + timedelta(days=days + 10))


# Signatures


def day_signature(files: list[FoundFile], now: datetime = NOW) -> Signatures:
    return signatures(list_bins(files).bins, now, SETTLE)


OTHER = "D20230810T120000_IFCB134"
DAY = [*files_of(V2, "D2023/D20230810"), *files_of(OTHER, "D2023/D20230810", roi=None)]


def test_a_day_without_usable_bins_has_the_empty_signature():
    assert day_signature([]) == Signatures("", "")
    assert day_signature(files_of(V2, age=timedelta(seconds=3))) == Signatures("", "")
    assert day_signature(files_of(V2, "D1999/D20220810")) == Signatures("", "")


def test_a_signature_is_short_and_stays_the_same_as_time_goes_by():
    first = day_signature(DAY)
    assert len(first.flow) == len(first.images) == 16
    assert day_signature(DAY, NOW + timedelta(days=400)) == first


@given(st.permutations(DAY))
def test_the_order_of_files_and_bins_does_not_change_a_signature(files):
    assert day_signature(files) == day_signature(DAY)
    assert signatures(reversed(list_bins(files).bins), NOW, SETTLE) == day_signature(DAY)


@pytest.mark.parametrize(
    ("change", "files"),
    [
        ("appears", [*DAY, *files_of("D20230810T130000_IFCB134", "D2023/D20230810")]),
        ("appears without .adc", [*DAY, *files_of("D20230810T130000_IFCB134", "D2023/D20230810", adc=None)]),
        ("disappears", DAY[:3]),
        ("grows", [replace(DAY[0], size=DAY[0].size + 1), *DAY[1:]]),
        ("is written again", [replace(DAY[0], mtime_ns=DAY[0].mtime_ns - 1), *DAY[1:]]),
        ("gets its .roi", [*DAY, FoundFile("D2023/D20230810", f"{OTHER}.roi", 7, DAY[0].mtime_ns)]),
        ("loses its .hdr", [found for found in DAY if found.name != f"{V2}.hdr"]),
        ("moves", [*(replace(found, directory="D2023") for found in DAY[:3]), *DAY[3:]]),
        ("is moved to another date", [*(replace(found, directory="D2022") for found in DAY[:3]), *DAY[3:]]),
        ("is being written", [replace(DAY[0], mtime_ns=nanoseconds(NOW)), *DAY[1:]]),
    ],
)
def test_a_signature_changes_when_a_usable_bin(change, files):
    assert day_signature(files) != day_signature(DAY)


@pytest.mark.parametrize("extension", ["adc", "hdr", "roi"])
@pytest.mark.parametrize("part", ["size", "mtime_ns"])
def test_every_file_of_a_bin_is_part_of_the_signature(extension, part):
    files = [
        replace(found, **{part: getattr(found, part) + 1}) if found.name == f"{V2}.{extension}" else found
        for found in DAY
    ]
    changed, before = day_signature(files), day_signature(DAY)
    assert changed.images != before.images
    # What is made of positions knows nothing of images.
    assert (changed.flow != before.flow) == (extension != "roi")


def test_a_roi_that_may_still_grow_is_no_part_of_a_signature_and_does_not_keep_its_bin_out():
    without = [found for found in DAY if found.name != f"{V2}.roi"]
    late = replace(files_of(V2, age=timedelta(seconds=30), adc=None, hdr=None)[0], directory=without[0].directory)
    assert day_signature([*without, late]) == day_signature(without)
    settled = day_signature([*without, late], NOW + SETTLE)
    assert settled.flow == day_signature(without).flow
    assert settled.images != day_signature(without).images


def test_a_bin_that_settles_changes_the_signature_once():
    growing = [*DAY, *files_of("D20230810T130000_IFCB134", age=timedelta(seconds=60))]
    assert day_signature(growing) == day_signature(DAY)
    settled = day_signature(growing, NOW + SETTLE)
    assert settled != day_signature(DAY)
    assert day_signature(growing, NOW + 2 * SETTLE) == settled


def test_a_misplaced_bin_is_no_part_of_a_signature():
    misplaced = files_of("D20230810T130000_IFCB134", "D2022/D20220810")
    assert day_signature([*DAY, *misplaced]) == day_signature(DAY)


def test_strays_and_lesser_copies_are_no_part_of_a_signature():
    copy = files_of(V2, "backup", adc=10)
    stray = FoundFile("", "stray.adc", 5, 0)
    assert day_signature([*DAY, *copy, stray]) == day_signature(DAY)


def test_two_bins_that_swap_sizes_change_the_signature():
    first, second = files_of(V2, adc=1, hdr=None, roi=None), files_of(OTHER, adc=2, hdr=None, roi=None)
    swapped = [replace(first[0], size=2), replace(second[0], size=1)]
    assert day_signature([*first, *second]) != day_signature(swapped)


def test_a_directory_whose_name_is_no_utf8_has_a_signature():
    # os.scandir gives the byte 0xe4 of an old file system as this lone surrogate; it raised UnicodeEncodeError.
    assert day_signature(files_of(V2, "M\udce4rz")) != day_signature(files_of(V2, "Maerz"))


@given(
    extra=st.lists(
        st.tuples(st.integers(0, 23), st.booleans(), st.integers(0, 119)), max_size=6, unique_by=lambda bin_: bin_[0]
    )
)
def test_bins_that_cannot_be_used_never_change_a_signature(extra):
    files = list(DAY)
    for hour, misplaced, age_s in extra:
        pid = format_pid("IFCB109", datetime(2023, 8, 10, hour, tzinfo=UTC))
        files += files_of(pid, "D2021") if misplaced else files_of(pid, age=timedelta(seconds=age_s))
    assert day_signature(files) == day_signature(DAY)


def test_the_signature_holds_until_the_next_change_and_no_longer():
    growing = files_of("D20230810T130000_IFCB134", age=timedelta(seconds=30))
    ahead = files_of("D20230810T140000_IFCB134", age=-timedelta(hours=1))
    bins = list_bins([*DAY, *growing, *ahead]).bins
    time, seen = NOW, []
    while until := next_change(bins, time, SETTLE):
        assert signatures(bins, until - timedelta(seconds=1), SETTLE) == signatures(bins, time, SETTLE)
        assert signatures(bins, until, SETTLE) != signatures(bins, time, SETTLE)
        time = until
        seen.append(until - NOW)
    assert seen == [timedelta(seconds=90), timedelta(hours=1), timedelta(hours=1, seconds=120)]
    assert next_change([], NOW, SETTLE) is None


@given(st.dates(date(2005, 1, 1), date(2099, 1, 1)), st.times(), st.sampled_from(["v1", "v2"]))
def test_the_likely_day_of_a_bin_is_its_day(day, time, schema):
    pid = format_pid("IFCB5", datetime.combine(day, time, tzinfo=UTC), schema)
    assert likely_day(pid) == day


@pytest.mark.parametrize(
    "stem",
    [
        *("", "notes", "D", "T", "_", "D20230810"),
        *("D20231310T000000_IFCB1", "IFCB5_2023_366_000000", "D²0230810T000000_IFCB1"),
        *("D20230810Ta\tb", "D20230810T\n", "D20230810T\udce9"),
    ],
)
def test_a_name_that_is_none_of_a_bin_has_no_likely_day(stem):
    assert likely_day(stem) is None
