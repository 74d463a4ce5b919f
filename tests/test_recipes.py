"""Recipes: they are what they say, train alike wherever they are run, and work for other images."""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest

import cnn_ext
from cnn_ext import (
    RECIPES,
    SGD,
    Adam,
    AdamW,
    CrossEntropy,
    NeuralNet,
    Recipe,
    ShapeError,
    Standardize,
    fit,
    make_mnist_cnn,
    schedules,
)
from cnn_ext.augmentation import RandomErasing, from_config
from cnn_ext.datasets import mnist_parts
from cnn_ext.models import MODELS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mnist():
    """300 images to train on, as the command line gives them, and 200 for a test."""
    return mnist_parts(None, 300, 200)[:2]


def bits(net):
    return b"".join(array.tobytes() for layer in net.layers for array in layer.state().values())


def test_names():
    assert list(RECIPES) == ["series", "fast", "best"]
    assert [recipe.model for recipe in RECIPES.values()] == ["mnist", "small", "best"]


@pytest.mark.parametrize(
    ("setting", "known"),
    [
        ("model", "mnist, cifar10, small, best"),
        ("optimizer", "sgd, adam, adamw"),
        ("schedule", "cosine, linear, constant"),
    ],
)
def test_unknown_names_list_the_known_ones(setting, known):
    for name in ("nonsense", None):
        with pytest.raises(ValueError, match=f"{setting} must be one of {known}, got {name!r}"):
            replace(RECIPES["series"], **{setting: name})


@pytest.mark.parametrize("name", RECIPES)
def test_a_config_is_the_recipe_as_json_gives_it_back(name):
    recipe = replace(RECIPES[name], augment=(*RECIPES[name].augment, RandomErasing(area=(0.1, 0.2))))
    config = recipe.config()
    assert list(config) == [field.name for field in fields(Recipe)]
    assert json.loads(json.dumps(config, allow_nan=False)) == config
    again = Recipe(**{**config, "augment": tuple(map(from_config, config["augment"]))})
    assert again == recipe and hash(again) == hash(recipe)


def test_a_recipe_with_ranges_is_saved_with_its_network(tmp_path, mnist):
    (X, y), _ = mnist
    recipe = replace(RECIPES["series"], augment=(RandomErasing(),), epochs=1, train_size=50)
    net, _ = recipe.train(X[:50], y[:50], num_class=10)
    net.save(tmp_path / "net", notes={"recipe": recipe.config()})
    assert NeuralNet.load(tmp_path / "net").notes == {"recipe": recipe.config()}


def test_the_series_by_hand(mnist):
    (X, y), test = mnist
    net, history = replace(RECIPES["series"], epochs=3).train(X, y, num_class=10, seed=4, validation=test)
    weights_seed, order_seed = np.random.SeedSequence(4).spawn(2)
    by_hand = NeuralNet(make_mnist_cnn((1, 28, 28), 10, rng=np.random.default_rng(weights_seed)), l2=0.001)
    own = fit(
        by_hand,
        X,
        y,
        optimizer=SGD(0.1, 0.9, nesterov=True),
        schedule=schedules.cosine(18, 1),
        epochs=3,
        batch_size=50,
        rng=np.random.default_rng(order_seed),
        validation=test,
    )
    assert bits(net) == bits(by_hand)
    assert history.loss == own.loss and history.validation_loss == own.validation_loss


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_learns_and_the_same_for_any_number_of_threads(name, mnist):
    (X, y), test = mnist
    # 60 steps: at the recipe's own batches there would be too few to see anything, at its rate they are too long.
    recipe = replace(RECIPES[name], epochs=2, batch_size=10, lr=0.02)
    before, found = cnn_ext.get_num_threads(), set()
    try:
        for threads in (1, 2):
            cnn_ext.set_num_threads(threads)
            net, history = recipe.train(X, y, num_class=10, validation=test)
            found.add((bits(net), tuple(history.loss), history.validation_accuracy[-1]))
    finally:
        cnn_ext.set_num_threads(before)
    assert len(found) == 1
    assert all(map(math.isfinite, history.loss)) and history.loss[1] < history.loss[0]
    assert history.validation_accuracy[-1] > 0.5  # 0.72 to 0.8, with 0.1 by chance
    assert ("validation_accuracy" in history[0]) == (not recipe.test_last_only)


def test_the_seed_decides(mnist):
    (X, y), _ = mnist
    recipe = replace(RECIPES["fast"], epochs=1)
    zero, again, one = (recipe.train(X, y, num_class=10, **seed)[0] for seed in ({}, {"seed": 0}, {"seed": 1}))
    assert bits(zero) == bits(again) != bits(one)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 12, 20)], ids=str)
@pytest.mark.parametrize("model", MODELS)
def test_other_images(model, shape, rng):
    y = rng.integers(0, 4, 60)
    X = rng.random((60, *shape), np.float32)
    X[np.arange(60), :, y] += 1  # a bright row
    recipe = replace(RECIPES["fast"], model=model, batch_size=10, lr=0.03)
    net, history = recipe.train(X, y, num_class=4, validation=(X, y))
    assert net.predict_proba(X).shape == (60, 4) and np.isfinite(history.loss).all()


@pytest.mark.parametrize("model", MODELS)
def test_images_too_small(model):
    X, y = np.random.default_rng(0).random((20, 1, 3, 3), np.float32), np.zeros(20, int)
    with pytest.raises(ShapeError):
        replace(RECIPES["best"], model=model).train(X, y, num_class=10)


def test_standardize_holds_what_was_measured(rng, monkeypatch):
    monkeypatch.setattr("cnn_ext.recipes.MEASURED_IMAGES", 40)
    X = rng.random((50, 3, 12, 12), np.float32) * np.array([1, 2, 3], np.float32).reshape(3, 1, 1)
    net = RECIPES["best"].make_network(X, 10, 0)
    first = net.layers[0]
    assert type(first) is Standardize and first.X_dim == (3, 12, 12)
    measured = X[:40].astype(np.float64)
    np.testing.assert_allclose(first.mean, measured.mean(axis=(0, 2, 3)), rtol=1e-13)  # sums in another order
    np.testing.assert_allclose(first.std, measured.std(axis=(0, 2, 3)), rtol=1e-13)
    plain = replace(RECIPES["best"], standardize=False).make_network(X, 10, 0)
    assert bits(plain) == bits(net) and len(plain.layers) == len(net.layers) - 1


def test_images_that_are_all_the_same_cannot_be_standardized():
    with pytest.raises(ValueError, match="std"):
        RECIPES["best"].make_network(np.ones((5, 1, 28, 28), np.float32), 10)


def test_settings_reach_what_they_are_for(mnist):
    (X, _), _ = mnist
    recipe = replace(RECIPES["series"], optimizer="adamw", lr=0.01, l2=0.3, label_smoothing=0.1)
    optimizer, net = recipe.make_optimizer(), recipe.make_network(X, 10)
    assert type(optimizer) is AdamW and (optimizer.lr, optimizer.weight_decay) == (0.01, 0.3)
    assert net.l2 == 0  # the decay is AdamW's own
    assert type(net.loss_func) is CrossEntropy and net.loss_func.label_smoothing == 0.1
    adam = replace(recipe, optimizer="adam")
    assert type(adam.make_optimizer()) is Adam and adam.make_optimizer().lr == 0.01
    assert adam.make_network(X, 10).l2 == 0.3
    sgd = replace(recipe, optimizer="sgd", momentum=0.0)
    assert type(sgd.make_optimizer()) is SGD and not sgd.make_optimizer().nesterov
    assert sgd.make_network(X, 10).l2 == 0.3
    assert RECIPES["series"].make_optimizer().momentum == 0.9 and RECIPES["series"].make_optimizer().nesterov


def test_a_changed_recipe():
    best = RECIPES["best"]
    assert best.changed() == best and best.changed(optimizer="sgd", epochs=3) == replace(best, epochs=3)
    assert best.changed(optimizer="adam") == replace(best, optimizer="adam", lr=0.001)  # 0.1 is for SGD
    assert best.changed(optimizer="adamw", lr=0.002) == replace(best, optimizer="adamw", lr=0.002)
    adam = best.changed(optimizer="adam", lr=0.003)
    assert adam.changed(optimizer="adamw") == replace(adam, optimizer="adamw")
    assert adam.changed(optimizer="sgd").lr == 0.003
    with pytest.raises(ValueError, match="optimizer must be"):
        best.changed(optimizer="adamm")


@pytest.mark.parametrize(
    ("schedule", "expected"), [("cosine", schedules.cosine), ("linear", schedules.linear), ("constant", None)]
)
@pytest.mark.parametrize(("warmup", "total", "used"), [(5, 100, 5), (500, 100, 10), (0, 100, 0), (500, 9, 0)])
def test_schedules(schedule, expected, warmup, total, used):
    found = replace(RECIPES["series"], schedule=schedule, warmup_steps=warmup).make_schedule(total)
    own = schedules.constant() if expected is None else expected(total, used)
    assert [found(step) for step in range(total)] == [own(step) for step in range(total)]


@pytest.mark.parametrize(("setting", "value"), [("max_norm", 0.01), ("average", 0.9), ("augment", (RandomErasing(),))])
def test_each_setting_of_the_loop_changes_the_run(setting, value, mnist):
    (X, y), _ = mnist
    recipe = replace(RECIPES["series"], epochs=1)
    changed = replace(recipe, **{setting: value})
    assert bits(recipe.train(X, y, num_class=10)[0]) != bits(changed.train(X, y, num_class=10)[0])
