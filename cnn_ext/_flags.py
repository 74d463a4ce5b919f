"""The flags of `python -m cnn_ext.train_mnist`, and how they change a recipe."""

from __future__ import annotations

import argparse
import ast
from dataclasses import fields
from typing import Any

from ._failures import Number, Parser
from ._processes import FLAG
from ._version import __version__
from .augmentation import TRANSFORM_TYPES, Transform, from_config
from .models import MODELS
from .recipes import ADAM_LR, OPTIMIZERS, RECIPES, SCHEDULES, Recipe

NOTHING = "none"

EPILOG = """\
The settings of a recipe stand in cnn_ext/recipes.py. --augment takes one word for each change, with its numbers
behind a colon, in the order in which they are done, for instance
  --augment RandomAffine:rotation=10,translation=2,scale=0.1 RandomFlip
Pictures need Pillow (pip install 'cnn_ext[image]'). Predict by python -m cnn_ext.predict --model FILE PICTURE ...
Exit codes: 0 done; 1 training diverged; 2 bad flag, or an extra is missing; 65 bad data; 66 data or model missing;
73 output not writable; 74 writing failed; 130 interrupted; 143 terminated.
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the flags."""
    parser = Parser(
        prog="python -m cnn_ext.train_mnist",
        description="Train a convolutional network on MNIST, or on pictures of one's own. Without flags: the series' "
        "network, 50,000 images from inside the package, 20 epochs, tested on the 10,000 test images after each.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    count, rate, share = Number(int, "[1, inf)"), Number(float, "(0, inf)"), Number(float, "[0, 1)")
    add = parser.add_argument
    add("--recipe", choices=tuple(RECIPES), default="series", help="where all settings come from (series)")
    add(
        "--evaluate", metavar="MODEL", help="train nothing: test a file, or a network of the package such as mnist-best"
    )
    add("--seed", type=Number(int, "[0, inf)"), default=0, metavar="N", help="of weights, order and augmentation (0)")
    add("--threads", type=Number(int, "[1, 256]"), metavar="N", help="for the kernels (the CPUs it may use)")
    add(
        "--data",
        metavar="PATH",
        help="a folder of pictures with a folder a class, divided into train/ and val/ or not; a CSV file of labels "
        "and pixels, or of files and labels; IDX files; CIFAR-10; the series' mnist.pkl.gz (MNIST)",
    )
    add("--image-size", type=Number(int, "[1, 1024]"), metavar="N", help="bring pictures to N x N (at most 64)")
    add("--grey", action="store_true", help="see pictures without their colours")
    add("--skip-broken", action="store_true", help="leave out pictures that cannot be read (they are an error)")
    add("--test-size", type=count, metavar="N", help="test images (10,000 of MNIST; all)")
    add("--validation-size", type=count, metavar="N", help="hold back the last N training images and test on those")
    add("--early-stopping", type=count, metavar="N", help="stop after N epochs without gain on these, keep the best")
    add("--output", metavar="FILE", help="save the trained network here, as safetensors (it is not saved)")
    add(
        "--log",
        metavar="FILE",
        help="write settings and epochs here, as JSON lines, or *.csv: epochs (no log)",
    )
    add("--report", metavar="FILE", help="write curves, mistakes and settings here, as one HTML page (no report)")
    add("--checkpoint", metavar="FOLDER", help="keep the run here as it goes: killed, it can go on exactly")
    add("--resume", metavar="FOLDER", help="go on with the run kept here, if there is one, and keep it here")
    add("--checkpoint-every", type=count, metavar="STEPS", help="(after each epoch, and each minute)")
    add("--allow-changes", action="store_true", help="resume although settings differ; list them")
    add(FLAG, action="store_true", help="share each batch with the other processes that mpiexec has started")
    add("--quiet", action="store_true", help="print nothing but errors")
    add("--version", action="version", version=f"cnn_ext {__version__}")

    add = parser.add_argument_group("settings in place of the recipe's").add_argument
    add("--model", choices=tuple(MODELS), help="the network")
    add("--standardize", action=argparse.BooleanOptionalAction, help="bring images to mean 0, deviation 1 first")
    add("--augment", nargs="+", type=transform, metavar="CHANGE", help=f"changes to training images, or {NOTHING}")
    add("--optimizer", choices=OPTIMIZERS, help="SGD with Nesterov's momentum, Adam, or AdamW")
    add(
        "--lr",
        type=rate,
        metavar="RATE",
        help=f"learning rate, at its peak ({ADAM_LR} for Adam or AdamW in SGD's place)",
    )
    add("--momentum", type=share, metavar="MU", help="Nesterov's; 0 for none")
    add("--l2", type=Number(float, "[0, inf)"), metavar="LAM", help="strength of the L2 penalty; AdamW's weight decay")
    add("--schedule", choices=SCHEDULES, help="how the rate falls from its peak")
    add("--warmup-steps", type=Number(int, "[0, inf)"), metavar="N", help="of its rise, at most a tenth of the run")
    add("--epochs", type=count, metavar="N", help="passes over the images")
    add("--batch-size", type=count, metavar="N", help="images a step")
    add("--train-size", type=count, metavar="N", help="training images")
    add("--label-smoothing", type=share, metavar="S", help="share of the target spread over all classes")
    add("--max-norm", type=optional(rate), metavar="LENGTH", help=f"to which gradients are shortened, or {NOTHING}")
    add("--average", type=optional(share), metavar="DECAY", help=f"of the weights' moving average, or {NOTHING}")
    add("--test-last-only", action=argparse.BooleanOptionalAction, help="test after the last epoch alone")
    return parser


def chosen_recipe(args: argparse.Namespace) -> Recipe:
    """Return the recipe that was named, with the settings that were given in place of its own."""
    given = {field.name: getattr(args, field.name) for field in fields(Recipe)}
    changes = {name: value for name, value in given.items() if value is not None}
    for name in ("max_norm", "average"):
        if changes.get(name) == NOTHING:
            changes[name] = None
    if "augment" in changes:
        changes["augment"] = tuple(change for change in changes["augment"] if change != NOTHING)
    return RECIPES[args.recipe].changed(**changes)


def optional(number: Number) -> Any:
    """Return the type for argparse that also takes the word for nothing."""
    return lambda text: NOTHING if text == NOTHING else number(text)


def transform(text: str) -> Transform | str:
    """Return the change to images that `text` names: "RandomAffine:rotation=10,scale=0.1"."""
    if text == NOTHING:
        return text
    name, _, settings = text.partition(":")
    if name not in TRANSFORM_TYPES:
        raise argparse.ArgumentTypeError(f"one of {', '.join(TRANSFORM_TYPES)} expected, got {name!r}")
    try:
        values = _keyword_arguments(settings)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:  # the last two: brackets in brackets in ...
        wanted = (
            "name=value, separated by commas, expected, a value being a number or some in brackets, as in (0.1, 0.2)"
        )
        raise argparse.ArgumentTypeError(f"{text!r}: {wanted}") from error
    try:
        return from_config({"type": name, **values})
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def _keyword_arguments(text: str) -> dict[str, Any]:
    """Return the names and literal values that stand in `text` as in a call: "area=(0.1, 0.2), fill=1"."""
    call = ast.parse(f"f({text})", mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise ValueError(f"keyword arguments expected, got {text!r}")
    values = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    return {str(name): value for name, value in values.items()}
