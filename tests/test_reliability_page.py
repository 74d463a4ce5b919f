"""docs/reliability.md names tests for what it promises: they exist."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the docs are not here")
def test_every_test_that_is_named_exists():
    text = PAGE.read_text()
    named = set(re.findall(r"(test_\w+\.py)::(test_\w+)", text))
    assert len(named) > 50
    missing = [
        f"{file}::{test}"
        for file, test in sorted(named)
        if not (TESTS / file).exists() or f"def {test}(" not in (TESTS / file).read_text()
    ]
    assert missing == []
    # And nothing is named in another way, which the search above would pass over.
    assert set(re.findall(r"\btest_\w+", text)) == {part.removesuffix(".py") for pair in named for part in pair}
