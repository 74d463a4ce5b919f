"""What the command lines read: the network, what its notes say, the images; failures are one line each."""

from __future__ import annotations

import argparse
from typing import Any

from ._class_names import classes_of
from ._failures import BAD_DATA, NO_DATA, USAGE, Failure, did_you_mean, failing
from .datasets.image_data import ImageData
from .datasets.sources import PICTURES, kind_of, load_data
from .errors import CheckpointError, DataFormatError
from .image_form import ImageForm
from .network import NeuralNet
from .pretrained import PRETRAINED, load_pretrained
from .recipes import Recipe

TEST_SIZE = 10_000


def load_network(name: str, flag: str) -> NeuralNet:
    """Return a network of the package or of a file."""
    known = f"{', '.join(PRETRAINED)}{did_you_mean(name, PRETRAINED)}"
    with (
        failing(NO_DATA, OSError, f"{flag}: neither a file nor one of {known}"),
        failing(BAD_DATA, CheckpointError, flag),
    ):
        return load_pretrained(name) if name in PRETRAINED else NeuralNet.load(name)


def form_of(net: NeuralNet) -> ImageForm:
    """Return the form of the pictures that a network takes: as its notes say, or else by their shape.

    Raises
    ------
    ValueError, TypeError
        Notes that say something else; a network for something other than pictures.
    """
    shapes = (getattr(layer, "input_shape", None) for layer in net.layers)
    shape = next((shape for shape in shapes if shape is not None), None)
    if "images" not in net.notes:
        return ImageForm.of(() if shape is None else shape)
    form = ImageForm.from_config(net.notes["images"])
    if shape is not None and len(shape) == 3 and shape != form.shape:
        raise ValueError(f"its notes tell of images of shape {form.shape}, it takes {shape}")
    return form


def load(args: argparse.Namespace, recipe: Recipe | None = None, net: NeuralNet | None = None) -> ImageData:
    """Return images, bytes that are scaled when a batch is gathered, and labels to train, test and validate on.

    With a network instead of a recipe: those it can be tested on.
    """
    with (
        failing(USAGE, ImportError, "--data"),
        failing(USAGE, ValueError, "--validation-size"),
        failing(
            NO_DATA, OSError, "the package's data cannot be read" if args.data is None else "--data cannot be read"
        ),
        failing(BAD_DATA, DataFormatError, "without --data" if args.data is None else "--data"),
    ):
        kind = kind_of(args.data)
        settings = _of_pictures(args, net) if kind in PICTURES else {}
        for flag, given in (
            ("--image-size", args.image_size is not None),
            ("--grey", args.grey),
            ("--skip-broken", args.skip_broken),
        ):
            if given and kind not in PICTURES:
                raise Failure(
                    USAGE, f"{flag} is for pictures: --data must be a folder of them, or a CSV table of files"
                )
        num_training = None if recipe is None else recipe.train_size
        if kind != "mnist" and args.train_size is None:
            num_training = None
        num_test = TEST_SIZE if kind == "mnist" and args.test_size is None else args.test_size
        data = load_data(
            args.data,
            num_training,
            num_test,
            args.validation_size or 0,
            classes=None if net is None else _classes_to_count(net, kind),
            **settings,
        )
        n_training, n_test = len(data.training[1]), len(data.test[1])
        if args.validation_size is not None and n_training == 0:
            raise Failure(USAGE, f"--validation-size {args.validation_size} leaves no images to train on")
        if n_test == 0 or (n_training == 0 and net is None):
            raise DataFormatError(f"{args.data}: no images to {'train' if n_test else 'test'} on")
    asked_to_train = None if net is not None else args.train_size
    for flag, asked, found in (("--train-size", asked_to_train, n_training), ("--test-size", args.test_size, n_test)):
        if asked is not None and asked > found:
            raise Failure(USAGE, f"{flag} asks for {asked} images, only {found} are there")
    return data


def describe(data: ImageData) -> str:
    """Return a line about images of one's own."""
    names = ", ".join(data.classes[:10]) + (", ..." if len(data.classes) > 10 else "")
    parts = [f"{len(data.training[1]):,} to train on"]
    parts += [f"{len(data.validation[1]):,} to validate on"] if len(data.validation[1]) else []
    parts += [f"{len(data.test[1]):,} to test on"]
    channels, height, width = data.form.shape
    look = f"{width} x {height} pixels, {'grey' if channels == 1 else 'colour'}"
    return f"images: {', '.join(parts)}; {look}; {len(data.classes)} classes: {names}"


def _classes_to_count(net: NeuralNet, kind: str) -> list[str] | None:
    """Return the classes of a network; one that has no names for them can only mean numbers."""
    classes, last = classes_of(net), net.shapes()[-1]
    if classes is None and kind != "mnist" and last is not None:
        return [str(label) for label in range(last[-1])]
    return classes


def _of_pictures(args: argparse.Namespace, net: NeuralNet | None) -> dict[str, Any]:
    """Return how pictures are to be read: as flags say, or as a network was trained."""
    broken = "skip" if args.skip_broken else "raise"
    if net is None:
        return {"size": args.image_size, "channels": 1 if args.grey else None, "broken": broken}
    if args.image_size is not None or args.grey:
        raise Failure(USAGE, "--image-size and --grey are for training: --evaluate reads pictures as the network says")
    with failing(BAD_DATA, (ValueError, TypeError), "--evaluate: the network takes no pictures"):
        form = form_of(net)
    size = form.height, form.width
    return {"size": size, "channels": form.channels, "preparation": form.preparation, "broken": broken}
