"""The figures in README.md and docs/ are those of the logs in benchmarks/logs: the benchmarks print what the pages must say."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLES = [
    ("README.md", "tables", "steps"),
    ("docs/performance.md", "tables", "steps"),
    ("docs/performance.md", "tables", "steps_with_avx2"),
    ("docs/performance.md", "tables", "others"),
    ("docs/performance.md", "tables", "panel"),
    ("README.md", "accuracy.table", "accuracy_table"),
    ("docs/recipes.md", "accuracy.ablation", "ablation_table"),
    ("docs/distributed.md", "mpi_scaling", "scaling_table"),
]

pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").exists(), reason="the benchmarks are not here")


@pytest.fixture(scope="module")
def benchmark():
    """Import a module of benchmarks/, which is not installed; behind all else, so that cnn_ext is the installed one."""
    sys.path.append(str(ROOT))
    yield lambda name: importlib.import_module(f"benchmarks.{name}")
    sys.path.remove(str(ROOT))


def words_of(page):
    return " ".join((ROOT / page).read_text(encoding="utf-8").split())


@pytest.mark.parametrize(("page", "module", "function"), TABLES, ids=lambda value: value)
def test_tables(page, module, function, benchmark):
    table = getattr(benchmark(module), function)()
    assert len(table.splitlines()) > 4
    assert table in (ROOT / page).read_text(encoding="utf-8")


def test_sentences(benchmark):
    said = [*benchmark("sentences").in_words().items(), *benchmark("accuracy.table").in_words().items()]
    assert [sentence for page, sentences in said for sentence in sentences if sentence not in words_of(page)] == []
