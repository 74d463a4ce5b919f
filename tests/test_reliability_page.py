"""docs/reliability.md names tests and scripts for what it promises: they exist."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"
DEFINED = {path.name: set(re.findall(r"def (test_\w+)\(", path.read_text())) for path in TESTS.glob("test_*.py")}


@pytest.mark.skipif(not PAGE.exists(), reason="the docs are not here")
def test_every_test_and_script_that_is_named_exists():
    text = PAGE.read_text()
    pairs = set(re.findall(r"(test_\w+\.py)::(test_\w+)", text))
    assert len(pairs) > 50
    assert [pair for pair in sorted(pairs) if pair[1] not in DEFINED.get(pair[0], ())] == []
    everywhere = set().union(*DEFINED.values(), DEFINED)
    assert set(re.findall(r"\btest_\w+(?:\.py)?", text)) - everywhere == set()
    scripts = {path.name for path in (TESTS.parent / "benchmarks" / "reliability").glob("*.py")}
    assert set(re.findall(r"`([a-z_]+\.py)`", text)) - set(DEFINED) - scripts == set()
