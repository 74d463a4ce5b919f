"""What notebooks show: a network as a table, a run as a bar."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

from cnn_ext import Flatten, FullyConnected, NeuralNet, load_pretrained


def test_the_table_holds_what_the_summary_holds():
    net = load_pretrained("mnist-small")
    table = ElementTree.fromstring(net._repr_html_())
    rows = [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
    lines = [line for line in net.summary().splitlines() if not line.startswith("---")]
    assert [" ".join(" ".join(row).split()) for row in rows] == [" ".join(line.split()) for line in lines]
    assert [part.tag for part in table] == ["thead", "tbody", "tfoot"]


def test_names_of_layers_are_escaped():
    class Odd(Flatten):
        pass

    Odd.__name__ = "<b>&\"'"
    html = NeuralNet([Odd(), FullyConnected(4, 2)])._repr_html_()
    assert "&lt;b&gt;&amp;&quot;&#x27;" in html and "<b>" not in html


TRAINING = """
import sys, types, warnings
warnings.simplefilter("error")
if {notebook}:
    shell = types.SimpleNamespace(config={{"IPKernelApp": 1}}, kernel=None)
    sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: shell)
    sys.modules["ipywidgets"] = None
import numpy as np
from cnn_ext import SGD, FullyConnected, NeuralNet, Progress, fit
X, y = np.ones((8, 3), np.float32), np.zeros(8, np.int64)
fit(NeuralNet([FullyConnected(3, 2, rng=0)]), X, y, optimizer=SGD(0.1), epochs=1, batch_size=4, callbacks=[Progress()])
"""


def train(notebook):
    return subprocess.run([sys.executable, "-c", TRAINING.format(notebook=notebook)], capture_output=True, text=True)


def test_a_notebook_without_widgets_gets_a_bar_of_characters_and_no_warning():
    result = train(notebook=True)
    assert result.returncode == 0, result.stderr
    assert "epoch 1/1" in result.stdout and "images/s" in result.stderr and "arning" not in result.stderr


def test_a_file_gets_no_bar():
    result = train(notebook=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("epoch 1/1  loss ")
