from collections.abc import Callable
from typing import Any, TypeVar, final

_T = TypeVar("_T")

SETS: dict[str, int]
INSTRUCTION_SET: str
SET_NUMBER: int
MAX_THREADS: int
POOL: object

def set_threads(n_threads: int) -> None: ...
def get_threads() -> int: ...

@final
class Turn:
    def __init__(self, what: str) -> None: ...
    def call(self, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T: ...
