"""The networks that come with the package: small files that say where they come from, and that know digits."""

import numpy as np
import pytest

from cnn_ext import RECIPES, load_mnist, load_pretrained
from cnn_ext.pretrained import FOLDER, PRETRAINED

MAX_BYTES = {"mnist-best": 2_000_000, "mnist-small": 100_000}


@pytest.fixture(params=PRETRAINED)
def name(request):
    return request.param


def test_unknown_names_list_the_known_ones():
    for name in ("mnist", "../mnist-best", None):
        with pytest.raises(ValueError, match=f"name must be one of mnist-best, mnist-small, got {name!r}"):
            load_pretrained(name)
    assert sorted(MAX_BYTES) == sorted(PRETRAINED)


def test_the_files_are_small(name):
    assert (FOLDER / f"{name}.safetensors").stat().st_size <= MAX_BYTES[name]


def test_the_notes_say_how_it_was_trained(name):
    notes = load_pretrained(name).notes
    assert notes["recipe"].keys() == RECIPES["best"].config().keys()
    assert notes["seed"] == 0
    assert notes["command"].startswith("python -m cnn_ext.train_mnist")
    assert 0.98 < notes["test_accuracy"] < 1


@pytest.mark.slow
def test_it_takes_what_load_mnist_gives(name):
    net = load_pretrained(name)
    _, (X, y) = load_mnist(None, 0, 500)
    predicted = net.predict(X)
    assert predicted.shape == (500,) and predicted.dtype == np.int64
    # Far below what any of them reach on 10,000: 500 images with 98 % expected have a standard deviation of 0.6 %.
    assert np.mean(predicted == y) > 0.96
    assert net.predict_proba(X[:3]).shape == (3, 10)
