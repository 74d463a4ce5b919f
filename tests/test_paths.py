"""Where files are named: an int is not a path, though the system would take it for an open file."""

import pytest

from cnn_ext import DTypeError, FullyConnected, NeuralNet

NOT_PATHS = [1, 2.0, None, b"net", ["net"]]


@pytest.mark.parametrize("path", NOT_PATHS)
def test_only_text_and_paths_name_a_model_file(path):
    wanted = f"path must be a str or os.PathLike, got {type(path).__name__}"
    with pytest.raises(DTypeError, match=wanted):
        NeuralNet([FullyConnected(2, 2, rng=0)]).save(path)
    with pytest.raises(DTypeError, match=wanted):
        NeuralNet.load(path)
