"""Test images of MNIST drawn on the demo's page in a headless Chromium, dab by dab: how many are read right.

    pip install websocket-client
    python -m benchmarks.demo_canvas --images 500 --json benchmarks/logs/demo_canvas.json

A dab is a pointer pressed and lifted at one place, as a mouse does it. The page has one pen, thicker than MNIST's
thinnest strokes: dabs are set along the middle of the strokes, and wherever the whole pen is over ink.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import websocket

from cnn_ext import load_mnist, load_pretrained
from cnn_ext._machine import describe_machine
from cnn_ext.demo.reading import Reader
from cnn_ext.demo.server import DemoServer

FINE = 2  # dabs a pixel, along each axis
PEN = 18 / 280 * 28  # the page's, in pixels of MNIST
INSIDE = 0.8  # ink under the pen, as a mean, for a dab inside of a stroke

SETTLED = """new Promise((resolve) => {
  const look = () => {
    const guess = document.getElementById("guess");
    if (guess.dataset.version == version && !reading) resolve(guess.textContent); else setTimeout(look, 5);
  };
  look();
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--model", default="mnist-best")
    parser.add_argument("--chromium", default="chromium")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    X, y = load_mnist(num_training=0, num_test=args.images)[1]
    net = load_pretrained(args.model)
    began, wrong, n_dabs = time.perf_counter(), [], 0
    with DemoServer(Reader(net, args.model)) as server, chromium(args.chromium) as call:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        call("Page.navigate", url=server.address)
        evaluate(call, 'new Promise((r) => document.readyState === "complete" ? r() : addEventListener("load", r))')
        version = evaluate(call, "navigator.userAgent.match(/Chrome.([0-9]+)/)[1]")
        for index, (image, label) in enumerate(zip(X[:, 0], y)):
            evaluate(call, "clear()")
            left, top, side = evaluate(
                call, "(({left, top, width}) => [left, top, width])(canvas.getBoundingClientRect())"
            )
            places = dabs(image)
            n_dabs += len(places)
            for row, column in places:
                where = {"x": left + column / 28 * side, "y": top + row / 28 * side, "button": "left", "clickCount": 1}
                call("Input.dispatchMouseEvent", type="mousePressed", **where)
                call("Input.dispatchMouseEvent", type="mouseReleased", **where)
            text = evaluate(call, SETTLED)
            if not text.startswith(f"It reads {label},"):
                wrong.append({"image": index, "label": int(label), "page": text})
                print(wrong[-1], flush=True)
        server.shutdown()
    right = args.images - len(wrong)
    print(f"{right} of {args.images} read right ({right / args.images:.1%}), {n_dabs:,} dabs")
    result = {
        "images": args.images,
        "right": right,
        "share": right / args.images,
        "without_the_page": float((net.predict(X) == y).mean()),
        "wrong": wrong,
        "dabs": n_dabs,
        "seconds": round(time.perf_counter() - began, 1),
        "model": args.model,
        "chromium": version,
        "machine": describe_machine(),
    }
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def dabs(image):
    """Return the places (row, column), in pixels of the image, where the pen dabs."""
    fine = resampling(28, 28 * FINE)
    ink = fine @ image @ fine.T
    inside = mean_under_pen(ink) > INSIDE
    inside[1::FINE], inside[:, 1::FINE] = False, False  # one dab a pixel covers it
    return (np.argwhere(thinned(ink > 0.5) | inside) + 0.5) / FINE


def resampling(n_before, n_after):
    """Return the matrix of linear interpolation between the centres of pixels."""
    centres = (np.arange(n_after) + 0.5) * n_before / n_after - 0.5
    weights = np.maximum(0, 1 - np.abs(np.clip(centres, 0, n_before - 1)[:, np.newaxis] - np.arange(n_before)))
    return weights


def mean_under_pen(ink):
    reach = int(PEN / 2 * FINE)
    offsets = np.arange(-reach, reach + 1)
    disc = np.argwhere(np.hypot(*np.meshgrid(offsets, offsets)) <= PEN / 2 * FINE)
    padded = np.pad(ink, reach)
    return np.mean([padded[r : r + len(ink), c : c + len(ink)] for r, c in disc], axis=0)


def thinned(ink):
    """Return the middle of the strokes, by the method of Zhang and Suen (Comm. ACM 27(3), 1984)."""
    ink = np.pad(ink, 1)
    core = ink[1:-1, 1:-1]
    while True:
        before = core.copy()
        for first in (True, False):
            around = np.stack(
                [
                    ink[1 + dy : ink.shape[0] - 1 + dy, 1 + dx : ink.shape[1] - 1 + dx]
                    for dy, dx in ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
                ]
            )
            up, right, down, left = around[::2]
            count = around.sum(axis=0)
            begins_once = (~around & np.roll(around, -1, axis=0)).sum(axis=0) == 1
            gap = ~(up & right & down) & ~(right & down & left)
            if not first:
                gap = ~(up & right & left) & ~(up & down & left)
            core &= ~((count >= 2) & (count <= 6) & begins_once & gap)
        if np.array_equal(core, before):
            return core


@contextmanager
def chromium(program):
    """Start the browser on an empty page; give a function that calls a method of its DevTools protocol."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        flags += [f"--user-data-dir={folder}", "--remote-allow-origins=*", "--window-size=1000,900", "about:blank"]
        process = subprocess.Popen([program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            file = Path(folder, "DevToolsActivePort")
            until = time.monotonic() + 300
            while not (file.exists() and file.read_text().count("\n")):
                if time.monotonic() > until:
                    raise TimeoutError("the browser does not start")
                time.sleep(0.1)
            port = file.read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                page = next(target for target in json.load(answer) if target["type"] == "page")
            connection = websocket.create_connection(page["webSocketDebuggerUrl"], timeout=120)
            yield caller(connection)
            connection.close()
        finally:
            process.terminate()
            process.wait()


def caller(connection):
    number = 0

    def call(method, **parameters):
        nonlocal number
        number += 1
        connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(connection.recv())
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    return call


def evaluate(call, expression):
    answer = call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
    if "exceptionDetails" in answer:
        raise RuntimeError(answer["exceptionDetails"])
    return answer["result"].get("value")


if __name__ == "__main__":
    main()
