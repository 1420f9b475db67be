"""A bin that is handed in or named: judged as the pipeline does, and nothing outside of the archive is read."""

from pathlib import Path

import pytest

from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.review.upload import MAX_BYTES, UploadError, uploaded_bin
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.tried_bin import TriedBin, archived_bin

PID = "D20230810T113059_IFCB134"
DAY = Path("D2023/D20230810")
LINE = ",".join(["{0}", "{0}", *["0.1"] * 11, "9{0:02}", "500", "80", "40", "0", *["0"] * 6])
ADC = "\n".join(LINE.format(number) for number in range(1, 61)).encode() + b"\n"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    folder = tmp_path / "archive" / DAY
    folder.mkdir(parents=True)
    (folder / f"{PID}.adc").write_bytes(ADC)
    (folder / f"{PID}.hdr").write_text("temperature: 21.5\n")
    return Archive(tmp_path / "archive")


@pytest.mark.parametrize("written", ["{root}/{day}/{pid}.adc", "{day}/{pid}.adc", " {day}/../D20230810/{pid}.adc\n"])
def test_a_file_of_the_archive_is_found_by_its_path_with_what_lies_beside_it(archive: Archive, written: str):
    bin_ = archived_bin(archive, written.format(root=archive.root, day=DAY, pid=PID))
    assert bin_.pid == PID
    assert bin_.files == {"adc": ADC, "hdr": b"temperature: 21.5\n"}


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../outside/{pid}.adc", "{outside}/{pid}.adc", "D2023/../../outside/{pid}.adc",
     "{day}/{pid}.hdr", "{day}", "", "\0", "{day}/D20230810T120000_IFCB134.adc"],
)  # fmt: skip
def test_what_lies_elsewhere_or_is_no_adc_file_is_refused_in_the_same_words(
    archive: Archive, tmp_path: Path, path: str
):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / f"{PID}.adc").write_bytes(ADC)
    wanted = path.format(pid=PID, day=DAY, outside=tmp_path / "outside")
    with pytest.raises(UploadError, match=r"there is no \.adc file .* in the archive"):
        archived_bin(archive, wanted)


def test_days_on_another_disk_are_followed_by_their_link_as_the_pipeline_does(archive: Archive, tmp_path: Path):
    (archive.root / "D2023").rename(tmp_path / "disk2")
    (archive.root / "D2023").symlink_to(tmp_path / "disk2")
    assert archived_bin(archive, f"{DAY}/{PID}.adc").pid == PID


def test_a_file_that_is_no_bin_is_refused_even_in_the_archive(archive: Archive):
    (archive.root / "notes.adc").write_text("secret")
    with pytest.raises(UploadError, match="which instrument it is"):
        archived_bin(archive, "notes.adc")


def test_a_file_that_is_too_large_is_refused_unread(archive: Archive):
    with (archive.root / DAY / f"{PID}.hdr").open("wb") as file:
        file.truncate(MAX_BYTES["hdr"] + 1)
    with pytest.raises(UploadError, match="larger than any file of its kind"):
        archived_bin(archive, f"{DAY}/{PID}.adc")


def test_features_and_cloud_are_those_of_the_bin():
    tried = TriedBin.of(uploaded_bin([(f"{PID}.adc", ADC)]), FeatureSettings())
    (row,) = tried.features.to_pylist()
    assert (row["pid"], row["status"], row["n_images"]) == (PID, "ok", 60)
    assert row["median_y"] is not None
    assert tried.cloud is not None
    assert len(tried.cloud["x_px"]) == 60


def test_a_damaged_bin_has_no_cloud_and_says_why():
    tried = TriedBin.of(uploaded_bin([("IFCB1_2009_216_075913.adc", ADC)]), FeatureSettings())
    assert tried.cloud is None
    assert tried.read.status == "unreadable"
    assert tried.features.to_pylist()[0]["reason"] == tried.read.reason != ""
