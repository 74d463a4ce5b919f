SETS: dict[str, int]
INSTRUCTION_SET: str
SET_NUMBER: int
MAX_THREADS: int
POOL: object

def set_threads(n_threads: int) -> None: ...
def get_threads() -> int: ...
