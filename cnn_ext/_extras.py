"""What an optional part says where the library that it needs is not installed: one wording, one command."""

from __future__ import annotations

LIBRARIES = {
    "image": "Pillow",
    "mpi": "mpi4py",
    "onnx": "onnx and onnxruntime",
    "plot": "Matplotlib",
    "sklearn": "scikit-learn",
}
"""By extra, what it brings."""


def missing_extra(user: str, extra: str, error: ImportError) -> ImportError:
    """Return the error to raise when `user` cannot import what `extra` brings: one line, with the command that helps.

    The reason stands in it as well: the library may be there, but broken or too old.
    """
    reason = str(error).partition("\n")[0]
    message = f"{user} needs {LIBRARIES[extra]} ({reason}): pip install 'cnn_ext[{extra}]'"
    return ImportError(message, name=error.name)
