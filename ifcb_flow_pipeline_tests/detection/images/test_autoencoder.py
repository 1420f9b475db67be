"""The autoencoder: crops, NumPy against torch, two-sided error, rejection, the file, the commands."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow

from ifcb_flow_pipeline import autoencoders
from ifcb_flow_pipeline.detection.images import autoencoder
from ifcb_flow_pipeline.detection.images.autoencoder import CROP_PX, crop_of
from ifcb_flow_pipeline.detection.images.autoencoder_training import AutoencoderSettings, train_autoencoder
from ifcb_flow_pipeline.detection.images.fault_injection import plant
from ifcb_flow_pipeline.detection.images.light_detectors import LIGHT_DETECTORS
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline_tests.test_archive_images import PIDS, archive, run  # noqa: F401 (fixture)

from .conftest import CREATED
from .particles import clean_images

SETTINGS = AutoencoderSettings(numbers=4, epochs=8, rejection_rounds=1)


def test_a_crop_is_around_the_particle_at_native_resolution_and_one_brightness():
    image = np.full((100, 140), 100, np.uint8)
    image[60:70, 20:30] = 60
    crop = crop_of(image)
    assert crop.shape == (CROP_PX, CROP_PX)
    dark = np.argwhere(crop < -0.5)
    assert dark.mean(axis=0) == pytest.approx([CROP_PX / 2 - 0.5] * 2, abs=1)
    assert len(dark) == 100
    # 40 of 100 grey values are 80 of 200, in units of 40.
    assert crop.min() == pytest.approx(-2)
    assert crop_of(np.full((6, 6), 100, np.uint8)) == pytest.approx(0)


@pytest.fixture(scope="module")
def trained():
    pytest.importorskip("torch")
    return train_autoencoder(clean_images(150, seed=4), "drawn", CREATED, {}, SETTINGS)


def test_the_error_falls_on_bins_held_back_too(trained):
    _, curves = trained
    assert len(curves.training) == len(curves.held_back) == SETTINGS.epochs
    assert curves.training[-1] < 0.7 * curves.training[0]
    assert curves.held_back[-1] < 0.8 * curves.held_back[0]
    assert autoencoders.drawn_curves(curves).startswith(b"\x89PNG")


def test_numpy_says_what_torch_says(trained):
    import torch

    from ifcb_flow_pipeline.detection.images import autoencoder_training as training

    model, _ = trained
    layers = training._layers(SETTINGS.numbers)
    layers.load_state_dict({name: torch.tensor(array) for name, array in model.weights.items()})
    crops = np.array([crop_of(each.image) for each in clean_images(5, seed=6)])
    with torch.no_grad():
        numbers = training._encoded(layers, torch.tensor(crops))
        drawn = training._decoded(layers, numbers)
    assert autoencoder.encode(model.weights, crops) == pytest.approx(numbers.numpy(), abs=1e-4)
    assert autoencoder.decode(model.weights, numbers.numpy()) == pytest.approx(drawn.numpy(), abs=1e-4)


def test_what_is_drawn_too_well_is_as_odd_as_what_is_drawn_badly(trained):
    model, _ = trained
    images = [each.image for each in clean_images(40, seed=7)]
    usual = model.score(images)
    rng = np.random.default_rng(0)
    blurred = model.score([plant(image, "defocus", 0.8, rng) for image in images])
    noisy = model.score([plant(image, "noise", 0.9, rng) for image in images])
    assert np.median(blurred.error) < np.median(usual.error) < np.median(noisy.error)
    assert np.median(blurred.deviation) > np.median(usual.deviation)
    assert np.mean(noisy.odd) > np.mean(usual.odd)
    assert np.mean(usual.odd) < 0.2
    card = model.card
    beyond = (usual.deviation > card.deviation_threshold) | (usual.rarity > card.rarity_threshold)
    assert (usual.odd == beyond).all()
    assert np.isnan(model.score([np.zeros((3, 9), np.uint8)]).score).all()


def test_errors_are_parted_by_octaves_of_detail():
    rng = np.random.default_rng(0)
    fine = np.indices((1, 48, 48)).sum(axis=0) % 2 * 2.0 - 1
    coarse = np.ones((1, 48, 48))
    for residual, octave in ((fine, 0), (coarse, 3), (3 * fine, 0)):
        (found,) = autoencoder.errors_by_octave(residual + 1e-3 * rng.normal(0, 1, residual.shape))
        assert found.argmax() == octave
    assert found[0] == pytest.approx(np.log(9), abs=0.5)


def test_the_density_is_that_of_scikit_learn(trained):
    from scipy.stats import multivariate_normal

    model, _ = trained
    crops = np.array([crop_of(each.image) for each in clean_images(5, seed=6)])
    numbers = autoencoder.encode(model.weights, crops).astype(float)
    rows = (numbers - model.centre) @ model.directions
    wanted = sum(
        share * multivariate_normal(mean, np.linalg.inv(factor @ factor.T)).pdf(rows)
        for share, mean, factor in zip(model.shares, model.means, model.precisions, strict=True)
    )
    assert model.log_density(numbers) == pytest.approx(np.log(wanted))


def test_outliers_are_rejected_from_the_training(trained):
    model, _ = trained
    assert 0 < model.card.metrics["rejected"] <= 0.2 * 150
    with pytest.raises(ModelError, match="not 12 from 2"):
        train_autoencoder(clean_images(12), "", CREATED, {}, SETTINGS)


def test_an_autoencoder_is_the_same_after_it_was_written_and_scores_without_torch(trained, tmp_path, monkeypatch):
    model, _ = trained
    autoencoders.write_autoencoder(tmp_path / "a.npz", model)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    again = autoencoders.read_autoencoder(tmp_path / "a.npz")
    images = [each.image for each in clean_images(6, seed=8)]
    assert again.score(images).score == pytest.approx(model.score(images).score)
    assert again.card == model.card
    with pytest.raises(ModelError, match=r"ifcb-flow-pipeline\[deep\]"):
        train_autoencoder(clean_images(150), "", CREATED, {}, SETTINGS)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("layer.inner.weight", lambda a: a[:, :-1]),
        ("layer.up1.bias", lambda a: a * np.nan),
        ("means", lambda a: a[:, :-1]),
        ("card", lambda _: np.frombuffer(json.dumps({"kind": "images"}).encode(), np.uint8)),
    ],
)
def test_a_damaged_autoencoder_is_refused_with_the_remedy(trained, name, change):
    with np.load(io.BytesIO(autoencoder.to_bytes(trained[0]))) as file:
        arrays = {key: file[key] for key in file.files}
    arrays[name] = change(arrays[name])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with pytest.raises(ModelError, match="autoencoder train"):
        autoencoder.from_bytes(buffer.getvalue())


def test_a_share_of_the_training_is_made_faulty_where_it_is_asked_for():
    images = clean_images(40)
    found = autoencoders.contaminated(images, 0.1, np.random.default_rng(0))
    changed = [one.image is not other.image for one, other in zip(images, found, strict=True)]
    assert sum(changed) == 4
    assert [one.name for one in found] == [one.name for one in images]


def test_detectors_are_compared_with_faults_among_the_training(trained):
    images = clean_images(180, seed=12)
    found = autoencoders.evaluate(images, CREATED, replace(SETTINGS, epochs=4), (0.05,))
    assert len(found) == 5 + len(LIGHT_DETECTORS)
    by_name = {each.detector: each for each in found}
    assert by_name["autoencoder, one-sided error"].defocus < 0.5 < by_name["autoencoder, two-sided error"].defocus
    assert by_name["features, Mahalanobis"].unobserved > 0.8
    assert all(each.contamination == 0.05 for each in found)


def test_the_commands_train_and_score(trained, archive, tmp_path):  # noqa: F811
    for each in clean_images(120, seed=9):
        folder = tmp_path / "classes" / each.class_name
        folder.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(each.image).save(folder / f"{each.name}.png")
    model, curves, output = (tmp_path / name for name in ("a.npz", "loss.png", "scores.csv"))
    result = run("autoencoder", "train", tmp_path / "classes", "--epochs", 2, "--model", model, "--curves", curves)
    assert "120 images" in result.output
    assert curves.read_bytes().startswith(b"\x89PNG")
    run("autoencoder", "score", archive, "--model", model, "--per-bin", 5, "--output", output)
    table = pd.read_csv(output)
    assert len(table) == 5 * len(PIDS)
    assert table["deviation"].between(0, 1e6).all()
    assert "no model" in run("autoencoder", "score", archive, "--model", curves, code=1).output
