"""The series' own way of computing, written anew: the yardstick for `benchmarks.series_step`.

What makes it slow is kept: float64 throughout, columns gathered by three index arrays that are built anew at each
call, gradients scattered by `np.add.at`, and max-pooling through columns as well. What it got wrong is mended, so that
it computes the same losses as cnn_ext: fan-in initial weights come from outside, Nesterov's step is the true one.
"""

from __future__ import annotations

import numpy as np


def column_indices(shape, h_filter, w_filter, padding, stride):
    """Return channel, row and column of every entry of the unfolded image."""
    _, n_channels, height, width = shape
    h_out = (height + 2 * padding - h_filter) // stride + 1
    w_out = (width + 2 * padding - w_filter) // stride + 1
    in_filter = np.indices((n_channels, h_filter, w_filter)).reshape(3, -1, 1)
    rows, columns = np.indices((h_out, w_out)).reshape(2, 1, -1) * stride
    return in_filter[0], in_filter[1] + rows, in_filter[2] + columns


def unfold(x, h_filter, w_filter, padding, stride):
    channel, row, column = column_indices(x.shape, h_filter, w_filter, padding, stride)
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    return padded[:, channel, row, column].transpose(1, 2, 0).reshape(channel.size, -1)


def fold(columns, shape, h_filter, w_filter, padding, stride):
    n_images, n_channels, height, width = shape
    channel, row, column = column_indices(shape, h_filter, w_filter, padding, stride)
    padded = np.zeros((n_images, n_channels, height + 2 * padding, width + 2 * padding), columns.dtype)
    per_image = columns.reshape(channel.size, -1, n_images).transpose(2, 0, 1)
    np.add.at(padded, (slice(None), channel, row, column), per_image)
    return padded[:, :, padding : padding + height, padding : padding + width]


class Convolution:
    def __init__(self, W, b, padding):
        self.params, self.padding = [W, b], padding

    def forward(self, x):
        W, b = self.params
        n_filter, _, h_filter, w_filter = W.shape
        self.shape = x.shape
        self.columns = unfold(x, h_filter, w_filter, self.padding, 1)
        out = W.reshape(n_filter, -1) @ self.columns + b[:, None]
        return out.reshape(n_filter, *x.shape[2:], len(x)).transpose(3, 0, 1, 2)

    def backward(self, dout):
        W, _ = self.params
        n_filter, _, h_filter, w_filter = W.shape
        rows = dout.transpose(1, 2, 3, 0).reshape(n_filter, -1)
        dW = (rows @ self.columns.T).reshape(W.shape)
        db = dout.sum(axis=(0, 2, 3))
        dcolumns = W.reshape(n_filter, -1).T @ rows
        return fold(dcolumns, self.shape, h_filter, w_filter, self.padding, 1), [dW, db]


class MaxPooling:
    params = ()

    def forward(self, x):
        n_images, n_channels, height, width = self.shape = x.shape
        self.columns = unfold(x.reshape(-1, 1, height, width), 2, 2, 0, 2)
        self.winners = self.columns.argmax(axis=0)
        out = self.columns[self.winners, range(self.winners.size)]
        return out.reshape(height // 2, width // 2, n_images, n_channels).transpose(2, 3, 0, 1)

    def backward(self, dout):
        n_images, n_channels, height, width = self.shape
        dcolumns = np.zeros_like(self.columns)
        dcolumns[self.winners, range(self.winners.size)] = dout.transpose(2, 3, 0, 1).ravel()
        folded = fold(dcolumns, (n_images * n_channels, 1, height, width), 2, 2, 0, 2)
        return folded.reshape(self.shape), []


class Rectifier:
    params = ()

    def forward(self, x):
        self.x = x
        return np.maximum(0, x)

    def backward(self, dout):
        dx = dout.copy()
        dx[self.x <= 0] = 0
        return dx, []


class Rows:
    params = ()

    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dout):
        return dout.reshape(self.shape), []


class Dense:
    def __init__(self, W, b):
        self.params = [W, b]

    def forward(self, x):
        self.x = x
        return x @ self.params[0] + self.params[1]

    def backward(self, dout):
        return dout @ self.params[0].T, [self.x.T @ dout, dout.sum(axis=0)]


class SeriesNetwork:
    """The series' MNIST network, with initial weights copied in float64 from a list of arrays (W, b, W, b, ...)."""

    def __init__(self, weights, l2=0.001, lr=0.1, momentum=0.9):
        w = [np.array(array, np.float64) for array in weights]
        self.layers = [
            Convolution(w[0], w[1], 2),
            Rectifier(),
            MaxPooling(),
            Convolution(w[2], w[3], 2),
            Rectifier(),
            MaxPooling(),
            Rows(),
            Dense(w[4], w[5]),
            Rectifier(),
            Dense(w[6], w[7]),
        ]
        self.l2, self.lr, self.momentum = l2, lr, momentum
        self.velocity = [[np.zeros_like(p) for p in layer.params] for layer in self.layers]

    def step(self, x, y):
        """Take one whole training step; return the loss with its L2 penalty."""
        for layer in self.layers:
            x = layer.forward(x)
        e = np.exp(x - x.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        rows = range(len(y))
        loss = -np.log(p[rows, y]).sum() / len(y)
        loss += sum(0.5 * self.l2 * (layer.params[0] ** 2).sum() for layer in self.layers if layer.params)
        dout = p.copy()
        dout[rows, y] -= 1
        dout /= len(y)
        all_grads = []
        for layer in reversed(self.layers):
            dout, grads = layer.backward(dout)
            if layer.params:
                grads[0] += self.l2 * layer.params[0]
            all_grads.append(grads)
        for layer, grads, velocity in zip(self.layers, reversed(all_grads), self.velocity, strict=True):
            for i, grad in enumerate(grads):
                velocity[i] = self.momentum * velocity[i] + grad
                layer.params[i] -= self.lr * (grad + self.momentum * velocity[i])
        return loss
