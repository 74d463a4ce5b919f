"""Make curve.npz: a small network's start, its batches, and its first 20 losses.

The losses come from the loops below, in float64, which share no code with cnn_ext. Run from this folder:
`python make_golden.py`. The file is kept because the numbers a Generator draws may change between NumPy releases.
"""

import numpy as np

STEPS, BATCH, LR, MU, L2 = 20, 8, 0.1, 0.9, 0.001


def convolve(x, W, b):
    """3 x 3, stride 1, padding 1, one output number at a time."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.empty((len(x), len(W), *x.shape[2:]))
    for y in range(x.shape[2]):
        for z in range(x.shape[3]):
            window = padded[:, :, y : y + 3, z : z + 3]
            out[:, :, y, z] = np.einsum("ncij,kcij->nk", window, W) + b
    return out


def convolve_back(dout, x, W):
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    dpadded, dW = np.zeros_like(padded), np.zeros_like(W)
    for y in range(x.shape[2]):
        for z in range(x.shape[3]):
            dW += np.einsum("nk,ncij->kcij", dout[:, :, y, z], padded[:, :, y : y + 3, z : z + 3])
            dpadded[:, :, y : y + 3, z : z + 3] += np.einsum("nk,kcij->ncij", dout[:, :, y, z], W)
    return dpadded[:, :, 1:-1, 1:-1], dW, dout.sum(axis=(0, 2, 3))


def pool(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)


def loss_and_gradients(x, y, p):
    W1, b1, W2, b2, W3, b3 = p
    a1 = convolve(x, W1, b1)
    w1 = pool(np.maximum(a1, 0))
    h1 = w1.max(axis=4)
    a2 = convolve(h1, W2, b2)
    h2 = np.maximum(a2, 0).reshape(len(x), -1)
    scores = h2 @ W3 + b3
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    q = e / e.sum(axis=1, keepdims=True)
    loss = -np.log(q[np.arange(len(y)), y]).mean() + 0.5 * L2 * sum((W**2).sum() for W in (W1, W2, W3))
    q[np.arange(len(y)), y] -= 1
    d = q / len(y)
    dW3, db3 = h2.T @ d, d.sum(axis=0)
    d = (d @ W3.T).reshape(a2.shape) * (a2 > 0)
    d, dW2, db2 = convolve_back(d, h1, W2)
    winners = np.eye(4)[w1.argmax(axis=4)] * d[..., None]
    n, c, h, w = d.shape
    d = winners.reshape(n, c, h, w, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(a1.shape) * (a1 > 0)
    _, dW1, db1 = convolve_back(d, x, W1)
    return loss, [dW1 + L2 * W1, db1, dW2 + L2 * W2, db2, dW3 + L2 * W3, db3]


def main():
    rng = np.random.default_rng(0)
    shapes = [(4, 1, 3, 3), (4,), (6, 4, 3, 3), (6,), (96, 3), (3,)]
    start = [(0.3 * rng.standard_normal(shape)).astype(np.float32) for shape in shapes]
    y = rng.integers(0, 3, 80)
    X = rng.random((80, 1, 8, 8)).astype(np.float32) * 0.5
    for image, label in zip(X, y, strict=True):
        image[0, :, 2 * label : 2 * label + 3] += 0.5  # a stripe that tells the class
    order = np.concatenate([rng.permutation(80) for _ in range(STEPS * BATCH // 80)])
    params = [p.astype(np.float64) for p in start]
    velocity = [np.zeros_like(p) for p in params]
    losses = []
    for step in range(STEPS):
        rows = order[step * BATCH : (step + 1) * BATCH]
        loss, grads = loss_and_gradients(X[rows].astype(np.float64), y[rows], params)
        losses.append(loss)
        for p, v, g in zip(params, velocity, grads, strict=True):
            v[...] = MU * v + g
            p -= LR * (g + MU * v)
    np.savez_compressed("curve.npz", X=X, y=y, order=order, losses=losses, **{f"p{i}": p for i, p in enumerate(start)})


if __name__ == "__main__":
    main()
