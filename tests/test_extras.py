"""The message where an extra is missing, and the extras that pyproject.toml names."""

import tomllib
from pathlib import Path

import pytest

from cnn_ext._extras import LIBRARIES, missing_extra

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def test_the_message_is_one_line_with_the_reason_and_the_command():
    error = ImportError("broken\nin many lines", name="PIL._imaging")
    found = missing_extra("reading pictures", "image", error)
    assert str(found) == "reading pictures needs Pillow (broken): pip install 'cnn_ext[image]'"
    assert type(found) is ImportError and found.name == "PIL._imaging"


@pytest.mark.parametrize("extra", LIBRARIES)
def test_every_extra_of_a_message_brings_what_the_message_says(extra):
    brought = {requirement.partition(">=")[0] for requirement in EXTRAS[extra]}
    assert brought == set(LIBRARIES[extra].lower().split(" and "))


def test_all_brings_every_extra_but_mpi():
    (requirement,) = EXTRAS["all"]
    assert requirement == f"cnn-ext[{','.join(sorted(LIBRARIES.keys() - {'mpi'}))}]"


def test_the_oldest_versions_that_are_tested_are_the_oldest_that_are_allowed():
    requirements = [*PROJECT["dependencies"], *EXTRAS["test"], *(line for extra in LIBRARIES for line in EXTRAS[extra])]
    lowest = dict(requirement.partition(";")[0].split(">=") for requirement in requirements)
    pins = (Path(__file__).parent / "oldest.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(pin.partition(" ")[0].split("==") for pin in pins if not pin.startswith("#"))
    for name in lowest.keys() - {"mpi4py", "mpich"}:  # built for the MPI that is there
        assert f"{tested[name]}.0.0".startswith(f"{lowest[name]}."), name
    assert tested.keys() - lowest.keys() == {"pyparsing"}
