"""The order of the house: each file imports from its own room or from one further down, and nothing imports in a circle."""

import ast
from pathlib import Path

import pytest

import cnn_ext

PACKAGE = Path(cnn_ext.__file__).parent

# From the ground up; a name stands for a file, or for all files of a folder. docs/architecture.md tells what each is for.
ROOMS = {
    "ground": ["errors", "_checks", "_extras", "_failures", "_files", "_lazy", "_types", "_version"],
    "kernels": [
        *("_compiled", "threads", "_machine", "_windows", "_resampling", "kernels", "reference"),
        *("turns", "engine", "passes"),
    ],
    "layers": ["initializers", "layers", "regularization", "loss"],
    "data": [
        *("images", "image_form", "digits", "preparation", "datasets", "batches", "augmentation", "views", "prefetch"),
    ],
    "network": [
        "distributed",
        "foreign",
        "fusion",
        "summary",
        "model_file",
        "saving",
        "exchange",
        "network",
        "folding",
    ],
    "models": ["models", "pretrained", "ensemble", "_class_names"],
    "training": [
        *("optimizers", "schedules", "clipping", "averaging", "callbacks", "logs", "progress", "interruption"),
        *("checkpoint", "keeper", "run_settings", "run_state", "_keeping", "_run_checks"),
        *("training", "lr_range", "solvers", "recipes"),
    ],
    "doors": [
        *("estimator", "estimator_callbacks", "estimator_data", "estimator_settings", "report", "_report_pictures"),
        *("_data", "_flags", "_processes", "predict", "demo", "train_mnist", "__main__"),
    ],
}
HEIGHT = {name: height for height, names in enumerate(ROOMS.values()) for name in names}
COMPILED = {path.name.split(".")[0] for path in PACKAGE.glob("_*") if path.suffix in (".so", ".pyd")}


def module_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imports(module):
    """Return what of the package a module imports, sooner or later: also in a function, but not for types alone."""
    path = MODULES[module]
    folder = [*path.relative_to(PACKAGE).parts[:-1]]
    found, waiting = set(), list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*folder[: len(folder) - node.level + 1], *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                name = ".".join([*base, alias.name])
                found.add(name if name in MODULES or name in COMPILED else ".".join(base))
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        else:
            waiting.extend(ast.iter_child_nodes(node))
    return found - COMPILED - {module}


def test_each_file_has_a_room():
    assert {module.split(".")[0] for module in MODULES if module} == set(HEIGHT)
    assert len(HEIGHT) == sum(map(len, ROOMS.values()))


@pytest.mark.parametrize("module", sorted(set(MODULES) - {""}))
def test_imports_lead_down(module):
    own = HEIGHT[module.split(".")[0]]
    assert [name for name in imports(module) if HEIGHT.get(name.split(".")[0], 99) > own] == []


@pytest.mark.slow
def test_there_is_no_circle():
    done, way = set(), []

    def visit(module):
        assert module not in way, " -> ".join([*way, module])
        if module not in done:
            way.append(module)
            for name in imports(module) & set(MODULES):
                visit(name)
            done.add(way.pop())

    for module in MODULES:
        visit(module)


def test_only_the_lower_floors_see_compiled_modules():
    importers = {module for module, path in MODULES.items() if "_compiled" in path.read_text(encoding="utf-8")}
    assert {module.split(".")[0] for module in importers} - {"_compiled"} <= set(ROOMS["kernels"])
