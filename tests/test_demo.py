"""The demo: drawings brought to MNIST's form, what the page is told, and what the server refuses."""

import base64
import copy
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from importlib.resources import files

import numpy as np
import pytest

from cnn_ext import (
    Conv,
    DTypeError,
    Flatten,
    FullyConnected,
    NeuralNet,
    NonFiniteError,
    ReLU,
    ShapeError,
    load_mnist,
    load_pretrained,
)
from cnn_ext.demo.__main__ import main
from cnn_ext.demo.explain import layer_outputs, occlusion_map
from cnn_ext.demo.reading import Reader
from cnn_ext.demo.server import MAX_BODY, MAX_CONNECTIONS, DemoServer
from cnn_ext.digits import centred_digit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def net():
    return load_pretrained("mnist-small")


@pytest.fixture(scope="module")
def images():
    return load_mnist(num_training=0, num_test=300)[1]


@contextmanager
def serving(reader, **settings):
    with DemoServer(reader) as server:
        for name, value in settings.items():
            setattr(server, name, value)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(net):
    with serving(Reader(net, "small")) as server:
        yield server


def send(server, request, wait=10.0):
    """Send raw bytes and return status, headers and body of what comes back."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=wait) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("ascii").split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


def request(server, method="GET", path="/", body=b"", **headers):
    fields = {"Host": f"127.0.0.1:{server.server_port}", "Content_Length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items() if value is not None)
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def post(server, body, path="/api/read", **headers):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return send(server, request(server, "POST", path, body, **{"Content_Type": "application/json", **headers}))


# ---- the form of MNIST


def test_images_of_mnist_come_back_as_they_are(images):
    for (image,) in images[0]:
        longer = max(np.ptp(np.flatnonzero(image.any(axis=axis))) + 1 for axis in (0, 1))
        assert longer == 20  # in all 10,000 but three, which are not among these
        np.testing.assert_allclose(centred_digit(image), image, rtol=0, atol=1e-6)


def test_a_drawing_is_scaled_and_centred_whatever_its_place_and_size():
    box = np.zeros((300, 200), np.float32)
    box[30:110, 120:160] = 0.5
    digit = centred_digit(box)
    assert digit.dtype == np.float32 and digit.shape == (28, 28)
    wanted = np.zeros((28, 28))
    wanted[4:24, 9:19] = 0.5
    np.testing.assert_allclose(digit, wanted, atol=1e-6)
    dot = np.zeros((5, 5))
    dot[1, 3] = 1
    np.testing.assert_array_equal(centred_digit(dot), np.pad(np.ones((20, 20)), 4))
    line = np.zeros((1000, 1000))
    line[:, 7] = 1.0
    assert centred_digit(line).max() == 1 and np.count_nonzero(centred_digit(line)) == 20
    np.testing.assert_array_equal(centred_digit(np.zeros((3, 4))), np.zeros((28, 28)))


def test_the_heavier_side_lies_in_the_centre():
    ink = np.ones((40, 40))
    ink[:, 20:] = 0.2
    profile = centred_digit(ink).sum(axis=0)
    assert 14 <= profile @ (np.arange(28) + 0.5) / profile.sum() < 15


@pytest.mark.parametrize(
    ("grey", "error", "message"),
    [
        ([[1.0]], DTypeError, "grey must be a numpy.ndarray, got list"),
        (np.ones((2, 2), np.uint8), DTypeError, "grey must be float32 or float64, got uint8"),
        (np.ones((1, 2, 2)), ShapeError, "grey must be 2-D"),
        (np.ones((0, 3)), ShapeError, "grey must hold at least one pixel, got shape (0, 3)"),
        (np.array([[np.nan]]), NonFiniteError, "grey holds NaN or infinity"),
        (np.array([[-0.5, 1]]), ValueError, "grey must be in [0, 1], got pixels from -0.5 to 1.0"),
        (np.array([[0, 255.0]]), ValueError, "grey must be in [0, 1], got pixels from 0.0 to 255.0"),
    ],
)
def test_what_is_no_drawing(grey, error, message):
    with pytest.raises(error, match=re.escape(message)):
        centred_digit(grey)


# ---- explanations


def test_layer_outputs_are_what_the_network_computes(net, images):
    image = images[0][0]
    outputs = layer_outputs(net, image)
    assert [output.name for output in outputs] == [
        type(layer).__name__ for layer in net.layers if type(layer) is not Flatten
    ]
    assert [output.maps.shape for output in outputs][:3] == [(1, 28, 28), (16, 28, 28), (16, 14, 14)]
    scores = net.forward(image[np.newaxis], training=False)[0]
    np.testing.assert_allclose(outputs[-1].maps.ravel(), scores, atol=1e-4)  # batch norm folded there, not here


def test_occlusion_finds_the_ink_that_decides():
    layers = [Flatten(), FullyConnected(64, 2, rng=0)]
    layers[1].W = np.zeros((64, 2))
    W = np.zeros((8, 8))
    W[:, :2], W[:, 6:] = 1, -1  # ink on the left is for class 1, on the right against it
    layers[1].W[:, 1] = W.ravel()
    net = NeuralNet(layers)
    why = occlusion_map(net, np.ones((1, 8, 8), np.float32), 1)
    # Log-odds are the difference of the two scores; a square that covers columns 0 to 3 takes 4 rows of 2 away.
    np.testing.assert_allclose(why[:, 0], 8, atol=1e-5)
    np.testing.assert_allclose(why[:, 7], -8, atol=1e-5)
    np.testing.assert_allclose(occlusion_map(net, np.ones((1, 8, 8), np.float32), 0), -why, atol=1e-5)
    assert not occlusion_map(net, np.zeros((1, 8, 8), np.float32), 1).any()
    with pytest.raises(ValueError, match=r"label must be <= 1, got 2"):
        occlusion_map(net, np.ones((1, 8, 8), np.float32), 2)
    with pytest.raises(ShapeError, match=r"image must be 3-D"):
        occlusion_map(net, np.ones((8, 8), np.float32), 1)


def test_networks_that_the_page_cannot_show():
    conv = Conv((3, 32, 32), 2, 3, 3, 1, 0)
    with pytest.raises(
        ShapeError, match=r"must take images of shape \(1, 28, 28\): Conv expects 3 input channels, got 1"
    ):
        Reader(NeuralNet([conv, Flatten(), FullyConnected(1800, 10)]), "colour")
    with pytest.raises(ShapeError, match="at least 2 classes, it has 1"):
        Reader(NeuralNet([ReLU(), Flatten(), FullyConnected(784, 1)]), "one")


# ---- the server's answers


def test_the_page_and_its_headers(server):
    for path, kind in {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"}.items():
        status, headers, body = send(server, request(server, path=path))
        assert status == 200 and headers["Content-Type"].startswith(kind) and len(body) > 1000
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert b"://" not in body  # nothing from outside
        status, headers, empty = send(server, request(server, "HEAD", path))
        assert (status, headers["Content-Length"], empty) == (200, str(len(body)), b"")
    assert not re.search(r"""\son\w+=|style=|<script>""", files("cnn_ext.demo").joinpath("page.html").read_text())


def test_drawings_are_read(server, net, images):
    X, y = images
    for image, label in zip(X[:20], y[:20]):
        status, headers, body = post(server, {"image": np.rint(image[0] * 255).astype(int).tolist()})
        answer = json.loads(body)
        assert (status, headers["Content-Type"]) == (200, "application/json")
        np.testing.assert_allclose(answer["probabilities"], net.predict_proba(image[np.newaxis])[0], atol=1e-5)
        np.testing.assert_array_equal(answer["seen"], np.rint(image[0] * 255))
        assert np.argmax(answer["probabilities"]) == label


def test_drawings_are_explained(server, net, images):
    _, _, body = post(server, {"image": np.rint(images[0][0, 0] * 255).astype(int).tolist()}, path="/api/explain")
    answer = json.loads(body)
    assert answer["class"] == str(images[1][0])
    assert [layer["name"] for layer in answer["layers"]] == [
        type(layer).__name__ for layer in net.layers if type(layer) is not Flatten
    ]
    for maps in (*answer["layers"], answer["why"]):
        values = np.frombuffer(base64.b64decode(maps["data"]), np.uint8)
        assert values.size == np.prod(maps["shape"]) and np.abs(values - 128.0).max() == 127
    assert answer["why"]["shape"] == [1, 28, 28]


def test_scores_that_are_not_finite_are_an_answer_too(net, images, capfd):
    huge = copy.deepcopy(net)
    reader = Reader(huge, "huge")
    huge.layers[-1].W[...] = 3e38
    with serving(reader) as server:
        for path in ("/api/read", "/api/explain"):
            body = {"image": np.rint(images[0][0, 0] * 255).astype(int).tolist()}
            status, _, answer = post(server, body, path=path)
            assert status == 500 and b"the network fails: image 0 has no most probable class" in answer
    assert "Traceback" not in capfd.readouterr().err


def test_samples_and_about(server, images):
    _, _, body = send(server, request(server, path="/api/sample?n=7"))
    assert json.loads(body) == {
        "image": np.rint(images[0][7, 0] * 255).astype(int).tolist(),
        "label": int(images[1][7]),
    }
    _, _, body = send(server, request(server, path="/api/about"))
    assert json.loads(body) == {"name": "small", "classes": list("0123456789"), "parameters": 29546}


def test_names_of_classes_come_from_the_notes():
    net = load_pretrained("mnist-small")
    net.notes["classes"] = [f"<{digit}>" for digit in range(10)]
    assert Reader(net, "named").classes == net.notes["classes"]
    net.notes["classes"] = ["too", "few"]
    with pytest.raises(ValueError, match="2 classes in its notes, but 10 outputs"):
        Reader(net, "of other classes")


# ---- what is refused


GOOD = {"image": [[0, 255], [255, 0]]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "must be JSON"),
        (b"{", "must be JSON"),
        (b"\xff\xfe", "must be JSON"),
        (b'{"image": [[NaN]]}', "NaN is no number in JSON"),
        (b'{"image": [[-Infinity]]}', "-Infinity is no number in JSON"),
        (b'{"image": [[1e999]]}', "numbers in [0, 255]"),
        (b'{"image": [[' + b"9" * 5000 + b"]]}", "must be JSON"),
        (b"[" * 100_000, "must be JSON"),
        ([], '"image" alone'),
        ({"image": [[1]], "more": 1}, '"image" alone'),
        ({"image": 3}, "1 to 280 rows"),
        ({"image": []}, "1 to 280 rows"),
        ({"image": [1, 2]}, "1 to 280 rows"),
        ({"image": [[]]}, "of one length"),
        ({"image": [[1], [1, 2]]}, "of one length"),
        ({"image": [[0] * 281]}, "of one length"),
        ({"image": [[0]] * 281}, "1 to 280 rows"),
        ({"image": [[-1]]}, "numbers in [0, 255]"),
        ({"image": [[256]]}, "numbers in [0, 255]"),
        ({"image": [["1"]]}, "numbers in [0, 255]"),
        ({"image": [[True]]}, "numbers in [0, 255]"),
        ({"image": [[None]]}, "numbers in [0, 255]"),
        ({"image": [[[1]]]}, "numbers in [0, 255]"),
    ],
)
def test_bodies_that_are_no_drawing(server, body, message):
    for path in ("/api/read", "/api/explain"):
        status, headers, text = post(server, body, path)
        assert status == 400 and message in text.decode() and text.count(b"\n") == 1
        assert headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1:1",
        "127.0.0.1",
        "localhost.:{port}",
        "127.0.0.1:{port}.evil.example",
        "[::1]:{port}",
    ],
)
def test_other_hosts(server, host):
    host = host and host.format(port=server.server_port)
    assert send(server, request(server, Host=host))[0] == 403
    assert post(server, GOOD, Host=host)[0] == 403


def test_two_hosts(server):
    twice = request(server).replace(b"\r\n\r\n", b"\r\nHost: evil.example\r\n\r\n")
    assert send(server, twice)[0] == 403


def test_the_other_name_of_this_machine(server):
    origin = f"http://localhost:{server.server_port}"
    assert post(server, GOOD, Host=f"LOCALHOST:{server.server_port}", Origin=origin)[0] == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.example",
        "http://127.0.0.1:1",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:{port}.evil.example",
        "",
    ],
)
def test_other_origins(server, origin):
    assert post(server, GOOD, Origin=origin.format(port=server.server_port))[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py",
        "/page.html",
        "/%2e%2e/server.py",
        "/demo/../page.js",
        "//page.js/..",
        "/page.js%00",
        "/page.js?x",
        "/..\\server.py",
        "http://evil.example/",
        "/api",
        "/api/",
        "/API/READ",
        "*",
        "/api/samples?n=1",
    ],
)
def test_other_paths(server, path):
    assert send(server, request(server, path=path))[0] == 404


@pytest.mark.parametrize(
    "query", ["", "?", "?n=", "?n=-1", "?n=10000", "?n=1&n=2", "?n=1e3", "?n=٣", "?n=" + "9" * 30, "?m=1"]
)
def test_samples_that_are_not_there(server, query):
    assert send(server, request(server, path=f"/api/sample{query}"))[0] == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW", "get"])
def test_other_methods(server, method):
    status, headers, _ = send(server, request(server, method))
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert send(server, request(server, "POST"))[0] == 405
    status, headers, _ = send(server, request(server, method, "/api/read"))
    assert (status, headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"]
)
def test_other_types(server, kind):
    assert post(server, GOOD, Content_Type=kind)[0] == 415


def test_lengths_that_are_none(server):
    assert post(server, GOOD, Content_Length=None)[0] == 411
    assert post(server, GOOD, Content_Length=None, Transfer_Encoding="chunked")[0] == 411
    for length in ("-1", "+5", "1_0", "0x10", "5, 5", "", "9" * 21):
        assert post(server, GOOD, Content_Length=length)[0] == 400
    assert post(server, GOOD, Content_Length="9" * 20)[0] == 413


def test_a_huge_body_is_refused_before_it_is_there(server):
    head = request(server, "POST", "/api/read", Content_Type="application/json", Content_Length=str(10**12))
    assert send(server, head)[0] == 413
    body = b" " * (MAX_BODY + 1)
    assert post(server, body)[0] == 413
    assert post(server, b" " * MAX_BODY)[0] == 400


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /" + b"a" * 70_000,
        b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000,
    ],
)
def test_what_is_no_request_is_not_served(server, rubbish, capfd):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(rubbish)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while part := connection.recv(1 << 16):
                answer += part
        except ConnectionResetError:
            pass
    assert b"200" not in answer[:20]
    assert send(server, request(server))[0] == 200
    assert capfd.readouterr().err == ""


def test_slow_clients_are_not_waited_for(net):
    with serving(Reader(net, "small"), request_seconds=0.5) as server:
        began = time.monotonic()
        unfinished = request(server, "POST", "/api/read", b"{", Content_Type="application/json", Content_Length="100")
        assert send(server, unfinished)[0] == 408
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
            try:
                for byte in b"GET / HTTP/1.1\r\nX: " + b"a" * 1000:  # each byte in time, the whole never
                    connection.send(bytes([byte]))
                    time.sleep(0.05)
            except OSError:
                pass
            else:
                pytest.fail("the server went on listening")
        assert time.monotonic() - began < 5
        assert send(server, request(server))[0] == 200


def test_many_connections_do_not_become_many_threads(net):
    with serving(Reader(net, "small"), request_seconds=3) as server:
        idle = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(MAX_CONNECTIONS)]
        try:
            time.sleep(0.3)
            with socket.create_connection(("127.0.0.1", server.server_port), timeout=2) as one_more:
                assert one_more.recv(1) == b""
        finally:
            for connection in idle:
                connection.close()
        until = time.monotonic() + 5
        while True:  # the threads take a moment to see that they are alone
            try:
                assert send(server, request(server))[0] == 200
                break
            except (OSError, IndexError):
                assert time.monotonic() < until


def test_a_client_that_goes_away_is_no_news(server, capfd):
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close resets
        connection.sendall(
            request(server, "POST", "/api/explain", json.dumps(GOOD).encode(), Content_Type="application/json")
        )
    assert send(server, request(server))[0] == 200
    assert capfd.readouterr().err == ""


# ---- the command line


@pytest.mark.skipif(os.name != "posix", reason="SIGINT is sent")
def test_ctrl_c_ends_it_quietly():
    command = [sys.executable, "-m", "cnn_ext.demo", "--no-browser", "--model", "mnist-small"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().split()[0]
        assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/", address)
        process.send_signal(signal.SIGINT)
        try:
            assert (process.communicate(timeout=10), process.returncode) == (("\n", ""), 0)
        finally:
            process.kill()


def test_bad_flags(tmp_path, server, capsys):
    for flags, code, message in (
        (["--model", tmp_path / "none"], 66, "demo: --model: neither a file nor one of mnist-best, mnist-small: "),
        (["--model", __file__], 65, "demo: --model: "),
        (["--port", server.server_port, "--model", "mnist-small"], 2, f"demo: port {server.server_port} of 127.0.0.1 "),
    ):
        assert main(list(map(str, flags))) == code
        error = capsys.readouterr().err
        assert error.startswith(message) and error.count("\n") == 1
    assert main(["--port", "65536"]) == 2
    error = capsys.readouterr().err
    assert "an int in [0, 65535] expected, got '65536'" in error and error.count("\n") == 1
