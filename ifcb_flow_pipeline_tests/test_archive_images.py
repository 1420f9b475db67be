"""Images of an archive on the command line: judging, training, the page of odd ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image as Pillow

import ifcb_flow_pipeline
from ifcb_flow_pipeline.archive_images import image_table, own_levels, read_archive_images
from ifcb_flow_pipeline.cli import main
from ifcb_flow_pipeline.detection.images.fault_injection import plant
from ifcb_flow_pipeline.detection.images.training import Labelled
from ifcb_flow_pipeline.features.images.catalogue import NAMES
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.image_files import labelled_images, ready_model, write_image_model
from ifcb_flow_pipeline.store.image_labels import read_image_labels
from ifcb_flow_pipeline_tests.detection.images.conftest import model, planted  # noqa: F401 (fixtures)
from ifcb_flow_pipeline_tests.detection.images.particles import clean_images

PIDS = [f"D20240101T0{hour}0000_IFCB900" for hour in range(6)]
NO_ROI = "D20240101T070000_IFCB900"


def write_bin(folder, pid, images):
    """The .adc and .roi of a bin of these images, after one trigger without an image."""
    start, lines, content = 0, [",".join(["1", "0.5", *["0"] * 22])], b""
    for number, image in enumerate(images, 2):
        height, width = image.shape
        values = ["0"] * 24
        values[0], values[1] = str(number), str(number * 0.7)
        values[13:18] = map(str, (8 * (number % 100), 8 * (number % 60), width, height, start))
        lines.append(",".join(values))
        content += image.tobytes()
        start += image.size
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{pid}.adc").write_text("\n".join(lines) + "\n")
    (folder / f"{pid}.roi").write_bytes(content)
    (folder / f"{pid}.hdr").write_text("softwareVersion: test\n")


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """Six bins of 40 drawn images; every fourth of the last one is out of focus. One bin has lost its .roi."""
    root = tmp_path_factory.mktemp("archive")
    for number, pid in enumerate([*PIDS, NO_ROI]):
        images = [each.image for each in clean_images(40, seed=300 + number)]
        if pid == PIDS[-1]:
            rng = np.random.default_rng(1)
            images = [plant(image, "defocus", 0.8, rng) if i % 4 == 0 else image for i, image in enumerate(images)]
        write_bin(root / "D2024" / "D20240101", pid, images)
    (root / "D2024" / "D20240101" / f"{NO_ROI}.roi").unlink()
    return root


@pytest.fixture
def model_file(model, tmp_path):  # noqa: F811
    path = tmp_path / "model.npz"
    write_image_model(path, model)
    return str(path)


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return result


def test_images_are_judged_with_a_row_each(archive, model_file, tmp_path):
    output = tmp_path / "images.csv"
    result = run("images", archive, "--model", model_file, "--output", output)
    assert f"{NO_ROI}: no_roi" in result.output
    assert "240 images of 7 bins" in result.output
    table = pd.read_csv(output)
    assert len(table) == 240
    assert table["fault_probability"].is_monotonic_decreasing
    assert set(NAMES) <= set(table.columns)
    worst = table.head(10)
    assert (worst["pid"] == PIDS[-1]).sum() >= 8
    assert worst["reasons"].str.contains("usual").sum() >= 8
    first = table[table["image"] == f"{PIDS[0]}_00002"]
    assert len(first) == 1


def test_a_sample_of_each_bin_is_looked_at_and_the_same_every_time(archive, model):  # noqa: F811
    bins = read_archive_images(Archive(archive), PIDS[:2], per_bin=10)
    again = read_archive_images(Archive(archive), PIDS[:2], per_bin=10, n_jobs=1)
    assert [each.features.row.size for each in bins] == [10, 10]
    assert image_table(bins, model).equals(image_table(again, model))


def test_bins_of_an_instrument_tell_what_is_usual_for_it(archive, model):  # noqa: F811
    bins = read_archive_images(Archive(archive))
    own = own_levels(bins, model)["IFCB900"]
    assert own.usual != model.levels["IFCB900"].usual
    assert own_levels(bins[:2], model)["IFCB900"] == model.levels["IFCB900"]


def test_the_page_of_odd_images_shows_the_oddest_first(archive, model_file, tmp_path):
    output = tmp_path / "odd.png"
    result = run("odd", PIDS[-1], "--data-dir", archive, "--model", model_file, "--number", 7, "--output", output)
    lines = [line for line in result.output.splitlines() if "oddness" in line]
    scores = [float(line.split("oddness ")[1].split()[0]) for line in lines]
    assert len(lines) == 7
    assert all("nearest: " in line and "usual " in line for line in lines)
    assert scores == sorted(scores, reverse=True)
    with Pillow.open(output) as picture:
        assert picture.width > 600


@pytest.mark.parametrize(("pid", "message"), [(NO_ROI, "no .roi"), ("D20200101T000000_IFCB1", "there is no bin")])
def test_a_bin_without_images_has_no_page_and_says_why(archive, model_file, pid, message):
    result = run("odd", pid, "--data-dir", archive, "--model", model_file, code=1)
    assert message in result.output


def test_a_model_is_trained_on_a_folder_of_classes(tmp_path, model_file):
    for each in clean_images(204, seed=9):
        folder = tmp_path / "classes" / each.class_name
        folder.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(each.image).save(folder / f"{each.name}.png")
    result = run("train-images", tmp_path / "classes", "--source", "drawn", "--model", tmp_path / "own.npz")
    assert "204 images of 2 classes" in result.output
    assert "1 % false alarms" in result.output


def test_peoples_labels_teach_the_model_as_real_faults(archive, model_file, tmp_path):
    labels = tmp_path / "labels.csv"
    # Every fourth image of the last bin is out of focus; one of the labels is of an image that does not exist.
    rows = [f"{PIDS[-1]},{2 + 4 * i},fault,defocus,Ada,2024-02-01T00:00:00+00:00" for i in range(10)]
    rows += [f"{PIDS[0]},2,class,Tripos,Ada,2024-02-01T00:00:00+00:00",
             f"{PIDS[0]},9999,fault,clean,Ada,2024-02-01T00:00:00+00:00"]  # fmt: skip
    labels.write_text("\n".join(["pid,roi,kind,label,reviewer,at", *rows]) + "\n")
    faulty, clean, n_missing = labelled_images(Archive(archive), read_image_labels(labels))
    assert [fault for _, fault in faulty] == ["defocus"] * 10
    assert [(each.pid, each.class_name) for each in clean] == [(PIDS[0], "Tripos")]
    assert n_missing == 1
    found = Labelled.of(faulty)
    assert found.values.shape == (10, len(NAMES))
    assert len(found.without(np.array([PIDS[-1]])).faults) == 0


def test_too_few_images_are_refused_in_one_line(archive, tmp_path):
    result = run("train-images", archive, "--per-bin", 3, "--model", tmp_path / "own.npz", code=1)
    assert "200 clean images" in result.output


def test_what_is_no_image_model_is_refused_in_one_line(archive, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(b"nothing")
    assert "no model" in run("images", archive, "--model", path, code=1).output


def test_the_ready_model_is_small_and_says_what_it_was_made_of():
    found = ready_model()
    assert "MIT" in found.card.source
    assert len(found.card.faults) == 17
    assert sum(found.card.n_images.values()) > 2000


def test_the_package_holds_the_ready_model_and_every_part_that_reads_it():
    root = Path(ifcb_flow_pipeline.__file__).parent
    assert (root / "ready_models" / "images.npz").stat().st_size < 2_000_000
    # A folder without __init__.py is left out of what is installed.
    folders = {path.parent for path in root.rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)
