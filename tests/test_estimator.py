"""CNNClassifier: what scikit-learn asks of an estimator, and what its users try with one."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import cnn_ext
from cnn_ext import RECIPES, Dropout, FullyConnected, ReLU, get_num_threads
from cnn_ext.layers import Flatten

pytest.importorskip("sklearn")

import joblib
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from cnn_ext import CNNClassifier, estimator

# Most runs here are a few epochs, too short to converge.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]


@parametrize_with_checks([CNNClassifier()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    """300 digits of 8 x 8 pixels in [0, 1], float32, and their classes."""
    images, y = load_digits().images[:300], load_digits().target[:300]
    return (images / 16).astype(np.float32), y


@pytest.fixture(scope="module")
def table():
    """Rows of four features, float64, of three classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    return rng.standard_normal((90, 4)) + 2 * np.eye(3, 4)[y], y


def quick(**settings):
    return CNNClassifier(**{"max_iter": 2, "batch_size": 50, "random_state": 0, **settings})


def bits(classifier):
    layers = classifier.net_.layers
    return b"".join(array.tobytes() for layer in layers for array in (*layer.params, *layer.buffers))


def test_it_learns_images(digits):
    X, y = digits
    classifier = quick(max_iter=30, learning_rate_init=0.003).fit(X[:200], y[:200])
    assert classifier.score(X[200:], y[200:]) > 0.85  # 0.93, by chance 0.1


def test_scikit_learn_is_imported_when_it_is_asked_for():
    code = (
        "import sys, cnn_ext; print('sklearn' in sys.modules); cnn_ext.CNNClassifier; print('sklearn' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="module 'cnn_ext' has no attribute 'CNNClassifer'"):
        cnn_ext.CNNClassifer


def test_without_scikit_learn_one_line_says_what_to_do():
    code = "import sys; sys.modules['sklearn'] = None; from cnn_ext import *; from cnn_ext import CNNClassifier"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: CNNClassifier needs scikit-learn (")
    assert last.endswith("): pip install 'cnn_ext[sklearn]'")


# X in its many forms


def test_all_forms_of_grey_images_are_the_same_network(digits):
    X, y = digits
    forms = [
        (X, {}),
        (X[:, None], {}),
        (X[..., None], {"data_format": "channels_last"}),
        (X.reshape(300, 64), {"image_shape": (8, 8)}),
        (X.reshape(300, 64), {"image_shape": [1, 8, 8]}),
        (X.tolist(), {}),
    ]
    fitted = [quick(**settings).fit(np.float32(form), y) for form, settings in forms]
    assert len({bits(classifier) for classifier in fitted}) == 1
    expected = fitted[0].predict_proba(X)
    for classifier, (form, _) in zip(fitted, forms, strict=True):
        np.testing.assert_array_equal(classifier.predict_proba(np.float32(form)), expected)
        np.testing.assert_array_equal(classifier.predict_proba(X.reshape(300, 64)), expected)
        assert classifier.n_features_in_ == 64


def test_both_data_formats_of_colour_images(rng):
    X, y = rng.random((60, 3, 8, 10), np.float32), np.arange(60) % 3
    last = np.ascontiguousarray(X.transpose(0, 2, 3, 1))
    first = quick().fit(X, y)
    other = quick(data_format="channels_last").fit(last, y)
    rows = quick(data_format="channels_last", image_shape=(8, 10, 3)).fit(last.reshape(60, -1), y)
    assert bits(first) == bits(other) == bits(rows)
    assert first.image_shape_ == (3, 8, 10) and other.image_shape_ == rows.image_shape_ == (8, 10, 3)
    np.testing.assert_array_equal(first.predict_proba(X), other.predict_proba(last))


@pytest.mark.parametrize("shape", [(8, 8), (64,)], ids=str)
def test_bytes_are_scaled(shape, rng):
    X, y = rng.integers(0, 256, (60, *shape), np.uint8), np.arange(60) % 2
    scaled = X.astype(np.float32) / np.float32(255)
    of_bytes, of_floats = (quick(early_stopping=True).fit(given, y) for given in (X, scaled))
    assert bits(of_bytes) == bits(of_floats)
    np.testing.assert_array_equal(of_bytes.predict_proba(X), of_floats.predict_proba(scaled))


@pytest.mark.parametrize("kind", ["i8", "f4", "f8"])
def test_pixels_that_were_not_scaled_are_warned_of(kind, rng):
    X, y = rng.integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 2
    with pytest.warns(UserWarning, match=r"X holds pixels up to 25[0-9], but only bytes .* divide them by 255"):
        quick(max_iter=1).fit(X.astype(kind), y)
    classifier = quick(max_iter=1).fit(X, y)
    with pytest.warns(UserWarning, match="divide them by 255"):
        classifier.predict(X.astype(kind))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_while_another_thread_predicts(rng):
    X, y = rng.random((60, 8, 8), np.float32), np.arange(60) % 2
    classifier = quick(max_iter=1).fit(X, y)
    expected, inside, leave = classifier.predict(X).tobytes(), threading.Event(), threading.Event()

    def hold():
        with estimator._one_pass_at_a_time:
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert inside.wait(60)
        child = os.fork()
        if child == 0:
            os._exit(0 if classifier.predict(X).tobytes() == expected else 1)
        deadline = time.monotonic() + 30
        while (status := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        if status[0] == 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert status[0] != 0 and os.waitstatus_to_exitcode(status[1]) == 0
    finally:
        leave.set()
        thread.join()


@pytest.mark.parametrize(
    ("given", "trained"), [("f4", "f4"), ("f8", "f8"), ("i8", "f8"), ("u1", "f4"), ("?", "f8"), ("f2", "f8")]
)
@pytest.mark.parametrize(
    "model",
    ["dense", lambda X_dim, num_class, rng, dtype: cnn_ext.make_mnist_cnn(X_dim, num_class, rng=rng, dtype=dtype)],
)
def test_precision(given, trained, model, digits):
    classifier = quick(model=model, max_iter=1).fit(digits[0].astype(given), digits[1])
    assert classifier.net_.dtype == trained
    probabilities = classifier.predict_proba(digits[0])
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-15)


@pytest.mark.parametrize(
    ("X", "settings", "message"),
    [
        (np.ones((9, 8, 8)), {"image_shape": (4, 16)}, r"image_shape is \(4, 16\), but X holds images of shape \(8, 8\)"),
        (np.ones((9, 63)), {"image_shape": (8, 8)}, r"image_shape \(8, 8\) has 64 values, but X has 63 features"),
        (np.ones((9, 64)), {"image_shape": (64,)}, r"image_shape must be \(H, W\) or of three numbers .*got \(64,\)"),
        (np.ones((9, 64)), {"image_shape": (-8, -8)}, r"image_shape\[0\] must be >= 1, got -8"),
        (np.ones((9, 64)), {"model": "small"}, "model='small' needs images: .*got rows of 64 features"),
        (np.ones((9, 64)), {"recipe": "fast"}, "recipe needs images: .*got rows of 64 features"),
        (np.ones((9, 8, 8)), {"model": lambda *_, rng: [Flatten(), FullyConnected(64, 2)]}, r"for each of 3 .*got shape \(2,\)"),
        (np.ones((9, 1, 2, 3, 4)), {}, "dim 5"),
        (np.ones((9, 8, 0)), {}, r"0 feature\(s\)"),
    ],
)  # fmt: skip
def test_images_that_do_not_fit(X, settings, message):
    with pytest.raises(ValueError, match=message):
        quick(**settings).fit(X, np.arange(9) % 3)


def test_other_images_than_those_of_the_fit(digits, table):
    images, rows = quick().fit(*digits), quick().fit(*table)
    with pytest.raises(
        ValueError, match=r"X holds images of shape \(4, 16\), but the fit has seen images of .*\(8, 8\)"
    ):
        images.predict(np.ones((5, 4, 16)))
    with pytest.raises(ValueError, match="X has 63 features, but CNNClassifier is expecting 64 features"):
        images.predict(np.ones((5, 63)))
    with pytest.raises(ValueError, match="but the fit has seen rows of features"):
        rows.predict(np.ones((5, 2, 2)))


# Settings


@pytest.mark.parametrize(
    ("setting", "value", "wanted"),
    [
        ("model", "nonsense", "a str among"),
        ("data_format", "NCHW", "a str among"),
        ("recipe", "quick", "a str among"),
        ("solver", "lbfgs", "a str among"),
        ("alpha", -0.1, "a float in the range"),
        ("batch_size", 0, "an int in the range"),
        ("learning_rate_init", 0.0, "a float in the range"),
        ("max_iter", 1.5, "an int in the range"),
        ("momentum", 1.0, "a float in the range"),
        ("class_weight", "heavy", "an instance of 'dict'"),
        ("validation_fraction", 1.0, "a float in the range"),
        ("n_iter_no_change", 0, "an int in the range"),
        ("warm_start", "yes", "an instance of 'bool'"),
        ("random_state", -1, "an int in the range"),
    ],
)
def test_bad_parameters(setting, value, wanted, table):
    with pytest.raises(
        ValueError, match=f"The '{setting}' parameter of CNNClassifier must be .*{wanted}.* Got {value!r}"
    ):
        CNNClassifier(**{setting: value}).fit(*table)


@pytest.mark.parametrize("recipe", ["fast", replace(RECIPES["series"], label_smoothing=0.1)], ids=["name", "own"])
def test_a_recipe_trains_as_it_does_by_itself(recipe, digits):
    X, y = digits
    classifier = CNNClassifier(recipe=recipe, max_iter=2, batch_size=30, learning_rate_init=0.02, random_state=3)
    named = RECIPES.get(recipe, recipe) if isinstance(recipe, str) else recipe
    own, history = replace(named, epochs=2, batch_size=30, lr=0.02).train(X[:, None], y, num_class=10, seed=3)
    assert classifier.fit(X, y).loss_curve_ == history.loss
    np.testing.assert_array_equal(classifier.decision_function(X), own.scores_of(X[:, None]))
    assert classifier.net_.loss_func.config() == own.loss_func.config() and classifier.net_.l2 == own.l2


def test_every_setting_reaches_the_run(digits):
    def fitted(**settings):
        return quick(**{"solver": "sgd", "max_iter": 1, **settings}).fit(*digits)

    plain = bits(fitted())
    for name, value in [
        ("solver", "adam"),
        ("solver", "adamw"),
        ("alpha", 0.1),
        ("batch_size", 60),
        ("learning_rate_init", 0.002),
        ("max_iter", 2),
        ("momentum", 0.5),
        ("nesterovs_momentum", False),
        ("class_weight", "balanced"),
        ("random_state", 1),
        ("model", "dense"),
    ]:
        assert bits(fitted(**{name: value})) != plain, name
    assert bits(fitted(batch_size=np.int64(50))) == plain


def test_without_settings_it_is_adam_on_batches_of_200(table):
    classifier = CNNClassifier(random_state=0).fit(*table)
    optimizer = classifier._optimizer
    assert (type(optimizer).__name__, optimizer.lr, classifier.net_.l2) == ("Adam", 0.001, 0.0001)
    assert optimizer.steps == classifier.n_iter_ <= 200
    assert [type(layer) for layer in classifier.net_.layers] == [FullyConnected, ReLU, FullyConnected]


def test_the_model_follows_the_images(rng):
    y = np.arange(40) % 2
    large, small = (quick().fit(rng.random((40, side, side), np.float32), y).net_ for side in (4, 3))
    assert type(large.layers[0]) is cnn_ext.Conv and type(small.layers[0]) is Flatten


def test_a_function_as_model(digits):
    def make(X_dim, num_class, rng):
        dense = FullyConnected(64, num_class, rng=rng)
        return [Flatten(), Dropout(0.9, rng=rng), dense]

    one, two = (quick(model=make).fit(*digits) for _ in range(2))
    assert [type(layer) for layer in one.net_.layers] == [Flatten, Dropout, FullyConnected]
    assert bits(one) == bits(two)


def test_random_state(digits):
    def loss(random_state):
        return quick(random_state=random_state, max_iter=1).fit(*digits).loss_

    assert loss(1) == loss(1) == loss(np.int32(1)) != loss(2)
    assert loss(np.random.RandomState(5)) == loss(np.random.RandomState(5)) != loss(None) != loss(None)


def test_verbose_prints_a_line_an_epoch(digits, capsys):
    quick(early_stopping=True).fit(*digits)
    assert capsys.readouterr().out == ""
    quick(verbose=True, early_stopping=True).fit(*digits)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:9] for line in lines] == ["epoch 1/2", "epoch 2/2"] and all("validation" in line for line in lines)


# Labels and weights


@pytest.mark.parametrize("dtype", ["U10", object])
def test_labels_that_are_strings(digits, dtype):
    X, y = digits
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], dtype)
    classifier = quick(max_iter=5, early_stopping=True).fit(X, names[y])
    assert classifier.classes_.tolist() == sorted(names)
    best = classifier.predict_proba(X).argmax(axis=1)
    assert (classifier.predict(X) == classifier.classes_[best]).all()
    assert classifier.score(X, names[y]) > 0.5


def test_decision_function(digits):
    X, y = digits
    ten, two = quick().fit(X, y), quick().fit(X, y == 3)
    scores = ten.decision_function(X)
    np.testing.assert_array_equal(cnn_ext.softmax(scores), ten.predict_proba(X))
    odds = two.predict_proba(X)
    np.testing.assert_allclose(two.decision_function(X), np.log(odds[:, 1] / odds[:, 0]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_weight_zero_is_leaving_the_row_out(digits, early_stopping):
    X, y = digits
    weights = np.tile([1.0, 0, 2, 0.5], 75)
    there = weights > 0
    weighted, without = quick(early_stopping=early_stopping), quick(early_stopping=early_stopping)
    weighted.fit(X, y, sample_weight=weights)
    without.fit(X[there], y[there], sample_weight=weights[there])
    assert bits(weighted) == bits(without)
    assert bits(weighted) != bits(without.fit(X, y, sample_weight=np.maximum(weights, 0.5)))


def test_a_class_without_weight_is_none(digits):
    X, y = digits
    assert quick().fit(X, y, sample_weight=y != 7).classes_.tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9]


def test_whole_weights_are_repeated_rows(table):
    X, y = table
    weights = np.arange(90) % 4
    settings = {"batch_size": 500, "max_iter": 40, "n_iter_no_change": np.inf, "class_weight": "balanced"}
    weighted = quick(**settings).fit(X, y, sample_weight=weights)
    repeated = quick(**settings).fit(X.repeat(weights, axis=0), y.repeat(weights))
    # Sums in another order, in float64, over 40 steps of Adam.
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-9)


def test_class_weight(table):
    X, y = table
    keep = (y != 2) | (np.arange(90) % 4 == 0)
    X, y = X[keep], np.array(["a", "b", "c"])[y[keep]]
    by_class = quick(class_weight={"a": 1, "c": 3}).fit(X, y)
    by_row = quick().fit(X, y, sample_weight=np.where(y == "c", 3.0, 1.0))
    assert bits(by_class) == bits(by_row) != bits(quick(class_weight={}).fit(X, y))
    counts = {name: np.mean(y == name) * 3 for name in "abc"}
    balanced = {name: 1 / count for name, count in counts.items()}
    found = quick(class_weight="balanced").fit(X, y)
    np.testing.assert_allclose(found.net_.loss_func.class_weight, list(balanced.values()))
    with pytest.raises(ValueError, match="class_weight"):
        quick(class_weight={"a": -1}).fit(X, y)


@pytest.mark.parametrize(
    ("weights", "message"),
    [(np.zeros(90), "zero"), (np.full(90, -1.0), "[Nn]egative"), (np.full(90, np.nan), "NaN"), (np.ones(89), "shape")],
)
def test_bad_weights(weights, message, table):
    with pytest.raises(ValueError, match=message):
        quick().fit(*table, sample_weight=weights)


def test_one_class_is_not_enough(table):
    with pytest.raises(ValueError, match="at least 2 classes, got 1 class: "):
        quick().fit(table[0], np.ones(90))


# Epochs: when the fit ends, and how it goes on


def test_it_ends_when_the_loss_does_not_fall(table):
    classifier = quick(max_iter=50, n_iter_no_change=3, tol=100.0).fit(*table)
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 4  # the first is better than nothing
    assert classifier.loss_ == classifier.loss_curve_[-1]
    assert classifier.validation_scores_ is classifier.best_validation_score_ is None
    endless = quick(max_iter=50, n_iter_no_change=np.inf, tol=100.0).fit(*table)
    assert endless.n_iter_ == 50 and endless.loss_curve_[:4] == classifier.loss_curve_


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_the_warning_that_it_has_not_converged(digits):
    X, y = digits
    with pytest.warns(ConvergenceWarning, match="max_iter=2 epochs are over"):
        quick().fit(X, y)
    quick(n_iter_no_change=np.inf).fit(X, y)
    quick(n_iter_no_change=1, tol=100.0).fit(X, y)
    quick(recipe="fast").fit(X, y)


def test_early_stopping_keeps_the_best_epoch(digits):
    X, y = digits
    settings = {
        "max_iter": 40,
        "learning_rate_init": 0.02,
        "n_iter_no_change": 4,
        "tol": 0.0,
        "validation_fraction": 0.3,
    }
    stopped = quick(early_stopping=True, **settings).fit(X, y)
    scores = stopped.validation_scores_
    assert len(scores) == stopped.n_iter_ < 40
    assert stopped.best_validation_score_ == max(scores) and scores.index(max(scores)) == len(scores) - 5
    # The same run, ended after the best epoch by max_iter, has the same network.
    shorter = quick(early_stopping=True, **{**settings, "max_iter": len(scores) - 4}).fit(X, y)
    assert bits(shorter) == bits(stopped)


def test_what_is_held_back_is_drawn_class_by_class(table):
    X, y = table
    y = np.where(np.arange(90) < 6, "rare", "common")
    classifier = quick(early_stopping=True, validation_fraction=0.5)
    held, rows, left, weights = _held_back(classifier, X, y)
    assert (left == "rare").sum() == (held.y == 1).sum() == 3 and len(rows) == 45 and weights is None


def _held_back(classifier, X, y):
    classifier.classes_, classifier.image_shape_ = np.unique(y), None
    return classifier._hold_back(X, y, None, seed=0)


def test_early_stopping_needs_enough_rows():
    with pytest.raises(ValueError, match="least populated class"):
        quick(early_stopping=True).fit(np.eye(3), [0, 1, 1])


def test_partial_fits_are_the_epochs_of_a_fit(digits):
    X, y = digits
    whole = quick(max_iter=4, n_iter_no_change=np.inf).fit(X, y)
    parts = quick().partial_fit(X, y, classes=np.arange(10))
    for _ in range(2):
        parts.partial_fit(X, y)
    parts = pickle.loads(pickle.dumps(parts)).partial_fit(X, y)  # with the optimizer, and the order of the rows
    assert bits(parts) == bits(whole)
    assert parts.loss_curve_ == whole.loss_curve_ and parts.n_iter_ == 1


def test_partial_fit_goes_on_where_fit_ended(digits):
    X, y = digits
    two, three = (quick(max_iter=n, n_iter_no_change=np.inf).fit(X, y) for n in (2, 3))
    assert bits(two.partial_fit(X, y)) == bits(three)


def test_partial_fit_sees_some_classes_at_a_time(digits):
    X, y = digits
    low = y < 5
    classifier = quick().partial_fit(X[low], y[low], classes=np.arange(10))
    classifier.partial_fit(X[~low], y[~low]).partial_fit(X[:1], y[:1], classes=range(10))
    assert classifier.predict_proba(X).shape == (300, 10)


def test_what_partial_fit_refuses(digits):
    X, y = digits
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        quick().partial_fit(X, y)
    with pytest.raises(ValueError, match=r"y holds classes that are not among classes: \[8 9\]"):
        quick().partial_fit(X, y, classes=range(8))
    with pytest.raises(ValueError, match="classes must be those of the calls before"):
        quick().partial_fit(X, y, classes=range(10)).partial_fit(X, y, classes=range(11))
    for settings in ({"early_stopping": True}, {"class_weight": "balanced"}):
        with pytest.raises(ValueError, match=f"partial_fit does not support {next(iter(settings))}="):
            quick(**settings).partial_fit(X, y, classes=range(10))


def test_warm_start(digits):
    X, y = digits
    cold, warm = quick().fit(X, y), quick(warm_start=True).fit(X, y)
    assert bits(cold) == bits(warm)
    net, before = warm.net_, warm.loss_
    warm.set_params(alpha=0.5).fit(X, y)
    assert warm.net_ is net and net.l2 == 0.5 and warm.n_iter_ == 2 and len(warm.loss_curve_) == 4
    assert warm._optimizer.steps == 12  # a new one
    assert cold.fit(X, y).loss_ == before and len(cold.loss_curve_) == 2
    with pytest.raises(ValueError, match="warm_start needs the classes of the fit before"):
        warm.fit(X, y % 9)
    with pytest.raises(ValueError, match="63 features"):
        warm.fit(X.reshape(300, 64)[:, 1:], y)


# Among scikit-learn's tools


def test_clone(digits):
    fitted = quick(recipe=RECIPES["fast"], class_weight={0: 2}).fit(*digits)
    new = clone(fitted)
    assert new.get_params() == fitted.get_params() and not hasattr(new, "net_")
    assert bits(new.fit(*digits)) == bits(fitted)


def test_pipeline_and_routed_weights(table):
    X, y = table
    pipeline = make_pipeline(StandardScaler(), quick())
    weights = np.arange(90) % 3
    pipeline.fit(X, y, cnnclassifier__sample_weight=weights)
    by_hand = quick().fit(StandardScaler().fit_transform(X), y, sample_weight=weights)
    assert bits(pipeline[-1]) == bits(by_hand)
    assert pipeline.score(X, y) == by_hand.score(StandardScaler().fit_transform(X), y)


def test_grid_search_gives_the_same_in_processes_and_threads(digits):
    X, y = digits
    grid = {"learning_rate_init": [0.001, 0.01], "model": ["mnist", "dense"]}
    serial = GridSearchCV(quick(), grid, cv=2).fit(X, y)
    expected = serial.cv_results_["mean_test_score"].tolist()
    assert len(set(expected)) > 1
    for backend in ("loky", "threading"):
        with joblib.parallel_config(backend):
            found = GridSearchCV(quick(), grid, cv=2, n_jobs=2).fit(X, y)
        assert found.cv_results_["mean_test_score"].tolist() == expected
        assert bits(found.best_estimator_) == bits(serial.best_estimator_)


def test_worker_processes_share_the_cpus(monkeypatch):
    for variable in ("CNN_EXT_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    with joblib.parallel_config("loky", n_jobs=3):  # other workers than those that other tests have left
        found = joblib.Parallel()(joblib.delayed(get_num_threads)() for _ in range(3))
    assert max(found) <= max(1, joblib.cpu_count() // 3)


def test_cross_val_score_with_other_scores(digits):
    scores = cross_val_score(quick(), *digits, cv=2, scoring="neg_log_loss")
    assert scores.shape == (2,) and np.isfinite(scores).all()


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(digits, method):
    X, y = digits
    rows = X.reshape(300, 64)
    calibrated = CalibratedClassifierCV(quick(), method=method, cv=2).fit(rows, y)
    assert log_loss(y, calibrated.predict_proba(rows)) < np.log(10)  # without a warning that they do not add up to 1


def test_pickles_by_its_public_name(digits):
    X, y = digits
    fitted = quick().fit(X, y)
    data = pickle.dumps(fitted)
    assert b"cnn_ext.estimator" not in data
    weights = sum(array.nbytes for params in fitted.net_.params for array in params)
    assert len(data) < 3 * weights + 20_000  # Adam has two numbers a weight
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).n_iter_)"
    assert subprocess.run([sys.executable, "-c", code], input=data, capture_output=True).stdout.split() == [b"2"]


def test_weights_that_are_not_finite_give_no_class(digits):
    X, y = digits
    fitted = quick().fit(X, y)
    fitted.net_.layers[-1].b[0] = np.nan
    for predict in (fitted.predict, fitted.predict_proba):
        with pytest.raises(cnn_ext.NonFiniteError, match="image 0 has no most probable class"):
            predict(X)


def test_adam_in_the_place_of_sgd_has_a_rate_of_its_own(digits):
    def rate(**settings):
        return quick(max_iter=1, **settings).fit(*digits)._optimizer.lr

    assert rate(recipe="fast", solver="adamw") == 0.001
    assert rate(recipe="fast", solver="adamw", learning_rate_init=0.01) == 0.01
    assert rate(recipe="fast") == RECIPES["fast"].lr
    assert rate(solver="sgd") == 0.001  # of scikit-learn's MLPClassifier, for all its solvers


def test_weights_in_a_read_only_file(digits, tmp_path):
    X, y = digits
    fitted = quick().fit(X, y)
    joblib.dump(fitted, tmp_path / "classifier")
    mapped = joblib.load(tmp_path / "classifier", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict_proba(X), fitted.predict_proba(X))


def test_a_fitted_estimator_is_shared_between_threads(digits):
    X, _ = digits
    fitted = quick().fit(*digits)
    starts = list(range(0, 280, 10)) * 4
    expected = [fitted.predict_proba(X[start : start + 20]).tobytes() for start in starts]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda start: fitted.predict_proba(X[start : start + 20]).tobytes(), starts))
    assert found == expected


def test_the_network_is_one_of_the_package(digits, tmp_path):
    X, y = digits
    fitted = quick().fit(X, y)
    fitted.net_.save(tmp_path / "net.safetensors")
    net = cnn_ext.NeuralNet.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(net.scores_of(X[:, None]), fitted.decision_function(X))


# scikit-learn's callbacks


class Watch:
    """A callback by scikit-learn's protocol; it ends the fit after some epochs."""

    def __init__(self, stop_after=99):
        self.stop_after, self.events, self.scores = stop_after, [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        check_is_fitted(fitted_estimator)
        self.events.append(f"end {context.task_name}")
        self.scores.append(fitted_estimator.score(X, y))
        return context.task_name == "epoch" and context.task_id + 1 >= self.stop_after


@pytest.mark.parametrize("stop_after", [2, 99])
def test_callbacks_of_scikit_learn(digits, stop_after):
    pytest.importorskip("sklearn.callback")
    X, y = digits
    watch = Watch(stop_after)
    classifier = quick(max_iter=4, learning_rate_init=0.003).set_callbacks(watch).fit(X, y)
    epochs = min(stop_after, 4)
    assert classifier.n_iter_ == epochs
    assert watch.events == ["setup", "begin fit", *["begin epoch", "end epoch"] * epochs, "end fit", "teardown"]
    plain = [quick(max_iter=n, learning_rate_init=0.003).fit(X, y).score(X, y) for n in range(1, epochs + 1)]
    assert watch.scores == [*plain, plain[-1]]
    assert bits(classifier) == bits(quick(max_iter=epochs, learning_rate_init=0.003).fit(X, y))


def test_callbacks_are_torn_down_after_an_error(digits):
    pytest.importorskip("sklearn.callback")
    X, y = digits
    watch = Watch()
    with pytest.raises(cnn_ext.NonFiniteError):
        quick(solver="sgd", learning_rate_init=1e30).set_callbacks(watch).fit(X, y)
    assert watch.events[-1] == "teardown" and "end fit" not in watch.events
