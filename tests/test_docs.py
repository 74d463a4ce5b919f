"""Every block of Python in README.md and docs/ runs, and prints what the page says it prints; every command parses.

The blocks of a page run in order, in one namespace and in a folder of their own. What a block prints is shown by a block
without a language right behind it, by a comment behind a `print` (all of it, or its numbers), or by `>>>`; a comment that is a
tuple, behind an assignment, is the shape of what was assigned. Numbers with a point may differ by 5 %: other
instruction sets and other versions round and train otherwise.

`<!-- not run: why -->` before a block leaves it out. `<!-- tested with: epochs=60 -> epochs=2; ... -->` runs it with
texts replaced, so that it takes less long; then what is shown is not compared.
"""

import ast
import contextlib
import doctest
import io
import linecache
import math
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import cnn_ext
from cnn_ext import _flags, augmentation, datasets, kernels, predict
from cnn_ext.demo import __main__ as demo
from cnn_ext.layers import LAYER_TYPES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]
PAGES = [path for path in PAGES if path.exists()]
BLOCK = re.compile(
    r"^(?:<!-- (?P<how>not run|tested with): (?P<what>[^\n]+) -->\n\n?)?```python\n(?P<code>.*?)^```\n"
    r"(?:\n+(?:```(?:text)?\n(?P<fenced>.*?)^```|(?P<indented>(?:    [^\n]+\n|\n)*    [^\n]+\n)))?",
    re.MULTILINE | re.DOTALL,
)
NOT_RUN_AT_MOST = 4
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?")
OPTIONAL = {
    *("PIL", "matplotlib", "mlflow", "mpi4py", "onnx", "onnxruntime", "sklearn"),
    *("tensorboard", "tensorboardX", "torch", "wandb"),
}
PARSERS = {"train_mnist": _flags.make_parser, "predict": predict.make_parser, "demo": demo.make_parser}


class Block(NamedTuple):
    page: Path
    line: int
    code: str
    shown: str | None
    reason: str | None


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("code"))
        code, shown = found["code"], found["fenced"] if found["fenced"] is not None else found["indented"]
        if found["how"] == "tested with":
            shown = None
            for change in found["what"].split("; "):
                old, new = change.split(" -> ")
                assert old in code, f"{page.name}, line {line}: no {old!r} in the block to replace"
                code = code.replace(old, new)
        yield Block(page, line, code, shown, found["what"] if found["how"] == "not run" else None)


BLOCKS = {f"{page.relative_to(ROOT).as_posix()}:{b.line}": b for page in PAGES for b in blocks_of(page)}


def same_numbers(shown, printed):
    return all(
        math.isclose(float(a), float(b), rel_tol=0.05) if set(a + b) & set(".e") else int(a) == int(b)
        for a, b in zip(shown, printed, strict=True)
    )


def same(shown, printed):
    """Whether a page shows what was printed, but for spaces and the last digits; "..." stands for anything."""
    pattern = ".*".join(re.escape(NUMBER.sub("#", part)) for part in " ".join(shown.split()).split("..."))
    printed = " ".join(printed.split())
    if not re.fullmatch(pattern, NUMBER.sub("#", printed), re.DOTALL):
        return False
    return "..." in shown or same_numbers(NUMBER.findall(shown), NUMBER.findall(printed))


class Checker(doctest.OutputChecker):
    def check_output(self, want, got, optionflags):
        return same(want, got)


class Page:
    """A page's namespace and folder, and how far it has been run."""

    def __init__(self, folder, blocks):
        self.folder, self.blocks, self.outcomes = folder, blocks, {}
        self.names, self.missing = {"__name__": "__main__"}, set()

    def run_to(self, block):
        for each in self.blocks:
            if each not in self.outcomes:
                self.outcomes[each] = self.outcome(each)
            if each is block:
                return self.outcomes[each]

    def outcome(self, block):
        """Return None, a reason to skip, or an exception."""
        if block.reason:
            return f"not run: {block.reason}"
        try:
            with contextlib.chdir(self.folder):
                run(block, self.names)
        except ImportError as error:
            found = {name for name in (missing_module(error), missing_module(error.__cause__)) if name in OPTIONAL}
            self.missing |= found
            return f"{', '.join(found)} not installed" if found else error
        except (NameError, FileNotFoundError) as error:  # what a block that was left out would have made
            return f"a block before it needs {', '.join(sorted(self.missing))}" if self.missing else error
        except Exception as error:
            return error
        return None


def missing_module(error):
    return error.name.partition(".")[0] if isinstance(error, ImportError) and error.name else None


def run(block, names):
    if ">>>" in block.code:
        test = doctest.DocTestParser().get_doctest(block.code, names, block.page.name, str(block.page), block.line)
        said = io.StringIO()
        result = doctest.DocTestRunner(Checker(), verbose=False).run(test, said.write, clear_globs=False)
        names.update(test.globs)
        assert not result.failed, said.getvalue()
        return
    lines, printed = block.code.splitlines(), io.StringIO()
    name = f"{block.page.name}:{block.line}"
    linecache.cache[name] = (len(block.code), None, [f"{line}\n" for line in lines], name)
    for node in ast.parse(block.code).body:
        comment = lines[node.end_lineno - 1][node.end_col_offset :].strip().removeprefix("#").strip()
        with contextlib.redirect_stdout(printed):
            start = printed.tell()
            exec(compile(ast.Module([node], []), name, "exec"), names)
        if comment and ast.unparse(node).startswith("print("):
            got = printed.getvalue()[start:]
            numbers = NUMBER.findall(comment), NUMBER.findall(got)
            right = len(numbers[0]) == len(numbers[1]) and same_numbers(*numbers) if numbers[0] else same(comment, got)
            assert right, f"line {block.line + node.end_lineno} shows {comment!r}, and gives {got!r}"
        elif isinstance(node, ast.Assign) and re.fullmatch(r"\([\d, ]+\)", comment):
            assert names[node.targets[0].id].shape == ast.literal_eval(comment)
    if block.shown is not None:
        assert same(block.shown, printed.getvalue()), f"the page shows\n{block.shown}\nit prints\n{printed.getvalue()}"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    of_page = {page: [b for b in BLOCKS.values() if b.page == page] for page in PAGES}
    before = dict(LAYER_TYPES)
    yield {page: Page(tmp_path_factory.mktemp(page.stem), blocks) for page, blocks in of_page.items()}
    LAYER_TYPES.clear()
    LAYER_TYPES.update(before)  # without those that the pages have put there


@pytest.fixture
def same_threads():
    before = cnn_ext.get_num_threads()
    yield
    cnn_ext.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("same_threads", "capfd")
@pytest.mark.parametrize("name", BLOCKS)
def test_block(name, pages):
    outcome = pages[BLOCKS[name].page].run_to(BLOCKS[name])
    if isinstance(outcome, str):
        pytest.skip(outcome)
    if outcome is not None:
        raise outcome


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no compiler called cc")
@pytest.mark.skipif(not PAGES, reason="the docs are not here")
def test_the_program_in_c_runs(pages):
    """The page writes digits.c and an image; its program and its command then give what it shows."""
    path = ROOT / "docs" / "exchange.md"
    text = path.read_text(encoding="utf-8")
    program = re.search(r"```c\n(.*?)```\n+    \$ (cc [^\n]*)\n    ([^\n]*)\n", text, re.DOTALL)
    writer = max((b for b in pages[path].blocks if b.line < text.count("\n", 0, program.start())), key=lambda b: b.line)
    assert pages[path].run_to(writer) is None
    (pages[path].folder / "main.c").write_text(program[1])
    result = subprocess.run(program[2], shell=True, cwd=pages[path].folder, capture_output=True, text=True)
    assert same(program[3], result.stdout), result.stdout + result.stderr


@pytest.mark.skipif(not PAGES, reason="the docs are not here")
def test_everything_public_is_in_the_reference():
    written = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.rst"))
    described = {
        name.rpartition(".")[2] for name in re.findall(r"^\.\. (?:auto)?\w+:: ([\w.]+)$", written, re.MULTILINE)
    }
    public = {*cnn_ext.__all__, *augmentation.__all__, *datasets.__all__, *kernels.__all__} - {"__version__"}
    assert public - described == set()


@pytest.mark.skipif(not PAGES, reason="the docs are not here")
def test_few_blocks_are_not_run():
    assert len(BLOCKS) > 10
    assert sum(block.reason is not None for block in BLOCKS.values()) <= NOT_RUN_AT_MOST


def commands():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(r"python3? -m (cnn_ext|benchmarks)\.([\w.]*\w)((?:\\\n|[^`\n|;&>)])*)", text):
            before = text[: found.start()].splitlines() or [""]
            yield f"{page.relative_to(ROOT).as_posix()}:{len(before)}:{len(before[-1])}", found


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_command_parses(name, capsys):
    package, module, arguments = COMMANDS[name].groups()
    arguments = arguments.replace("\\\n", " ")
    if package == "benchmarks":
        assert (ROOT / "benchmarks" / f"{module.replace('.', '/')}.py").exists()
        return
    parser = PARSERS[module]()
    if not arguments.strip():  # named, not called
        return
    try:
        parser.parse_args(shlex.split(arguments, comments=True))
    except SystemExit as end:  # --help, or an error
        assert end.code == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    "shown, printed, alike",
    [
        ("97.11% after 30 epochs", "97.3% after  30 epochs\n", True),
        ("97.11% after 30 epochs", "97.11% after 31 epochs", False),
        ("97.11%", "90.00%", False),
        ("0.5 of it", "0.5 of them", False),
        ("epoch 1 ... 60", "epoch 1 and 2 and 60", True),
        ("epoch 1 ... 60", "epoch 1", False),
    ],
)
def test_what_counts_as_the_same(shown, printed, alike):
    assert same(shown, printed) is alike


def test_a_wrong_page_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 1\nprint(x)  # 2\n```\n\n```python\nprint(x)\n```\n\n    3\n\n```python\nprint(y)\n```\n"
        "<!-- not run: too slow -->\n```python\n1 / 0\n```\n\n```python\nimport numpy as np\nx = np.ones(3)  # (4,)\n```\n"
        "\n```python\n>>> 1 + 1\n3\n```\n\n```python\nprint(7)  # 7\nx = np.ones(3)  # (3,)\n```\n"
    )
    blocks = list(blocks_of(page))
    it = Page(tmp_path, blocks)
    outcomes = [it.run_to(block) for block in blocks]
    kinds = [AssertionError, AssertionError, NameError, str, AssertionError, AssertionError, type(None)]
    assert [type(outcome) for outcome in outcomes] == kinds
