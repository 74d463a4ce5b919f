"""Optimizers: each turns a list of gradients into a change of the parameters, in place.

An optimizer keeps its state (velocity, moments) from step to step. A step either happens as a whole or, when a
check fails, not at all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._checks import above_zero, as_list, check_apart, check_array, check_bool, check_real
from ._types import Array
from .errors import NonFiniteError, ShapeError
from .layers.base import NumberIn
from .passes import adam_step, add_scaled, check_finite, momentum_step


class Optimizer(ABC):
    """What all optimizers share: the checks, the count of steps, and the state.

    Parameters
    ----------
    lr : float
        Learning rate, in (0, inf). A schedule multiplies it.

    Attributes
    ----------
    steps : int
        How many steps were taken.
    state : dict of str to list of ndarray
        For each name in `state_names` one array a parameter, of its shape and dtype; empty before the first step.
    """

    state_names: tuple[str, ...] = ()

    lr: NumberIn = NumberIn("(0, inf)")

    def __init__(self, lr: float) -> None:
        self.lr = lr
        self.steps: int = 0
        self.state: dict[str, list[Array]] = {}

    def step(
        self,
        params: Sequence[Array],
        grads: Sequence[Array],
        *,
        factor: float = 1.0,
        names: Sequence[str] | None = None,
    ) -> None:
        """Change `params` in place by one step.

        Parameters
        ----------
        params : sequence of ndarray
            float32 or float64, writable, none sharing memory with another; the same ones at each step.
        grads : sequence of ndarray
            The gradient of each parameter, of its shape.
        factor : float
            What the rate is multiplied by at this step, >= 0 (a schedule's value).
        names : sequence of str, optional
            The parameters' names, for error messages.

        Raises
        ------
        ValueError
            As many gradients as there are not parameters; a read-only parameter; parameters that share
            memory, with each other or with their gradients; a negative factor.
        DTypeError
            A parameter or a gradient that is not a float array.
        ShapeError
            A gradient of another shape than its parameter.
        NonFiniteError
            A NaN or infinity in a gradient, or a rate that is infinite in the precision of a parameter. The
            parameters and the state are as before.
        """
        rate = self.lr * check_real("factor", factor, "[0, inf)")
        params, grads = as_list("params", params), as_list("grads", grads)
        if len(grads) != len(params):
            raise ValueError(f"grads must have one array for each of the {len(params)} params, got {len(grads)}")
        names = [f"params[{index}]" for index in range(len(params))] if names is None else as_list("names", names)
        if len(names) != len(params):
            raise ValueError(f"names must have one name for each of the {len(params)} params, got {len(names)}")
        for name, param, grad in zip(names, params, grads, strict=True):
            check_array(name, param)
            check_array(f"grad of {name}", grad)
            if not param.flags.writeable:
                raise ValueError(f"{name} is read-only and cannot be trained")
            if grad.shape != param.shape:
                raise ShapeError(f"grad of {name} must have shape {param.shape}, got {grad.shape}")
            if np.may_share_memory(param, grad) and np.shares_memory(param, grad):
                raise ValueError(f"{name} and its gradient share memory")
            check_finite(f"step {self.steps + 1}: grad of {name}", grad)
            if rate > float(np.finfo(param.dtype).max):
                raise NonFiniteError(f"step {self.steps + 1}: the rate {rate} is beyond the range of {param.dtype}")
        if self.steps == 0:
            check_apart(names, params)
            self.start(params)
        for arrays in self.state.values():
            if [(array.shape, array.dtype) for array in arrays] != [(param.shape, param.dtype) for param in params]:
                raise ShapeError("params are not those of the earlier steps: make a new optimizer for another network")
        self.steps += 1
        for index, (param, grad) in enumerate(zip(params, grads, strict=True)):
            kept = [self.state[state_name][index] for state_name in self.state_names]
            self._update(param, grad, param.dtype.type(rate), *kept)

    def start(self, params: Sequence[Array]) -> None:
        """Make the state anew, as it is before the first step."""
        self.steps = 0
        self.state = {state_name: [np.zeros_like(param) for param in params] for state_name in self.state_names}

    def config(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them: all attributes but the state."""
        values = {name: value for name, value in vars(self).items() if name not in ("steps", "state", "state_names")}
        return {"type": type(self).__name__, **values}

    @abstractmethod
    def _update(self, param: Array, grad: Array, lr: Any, *state: Array) -> None:
        """Change one parameter and its state in place."""


class SGD(Optimizer):
    """Stochastic gradient descent, plain, with momentum, or with Nesterov's momentum.

    With v = momentum * v + grad, from v = 0::

        param -= lr * v                        (classical momentum)
        param -= lr * (grad + momentum * v)    (Nesterov)

    The gradient is taken at the stored parameters, as in PyTorch and ONNX: Sutskever's form after a change of
    variable, so that no look-ahead is ever left in the parameters.

    Parameters
    ----------
    lr : float
        Learning rate, in (0, inf).
    momentum : float
        In [0, 1).
    nesterov : bool
        Which of the two; Nesterov's needs a momentum above 0.

    References
    ----------
    Robbins, Monro: A stochastic approximation method. Ann. Math. Stat. 22(3), 1951.
    Polyak: Some methods of speeding up the convergence of iteration methods. 1964.
    Sutskever, Martens, Dahl, Hinton: On the importance of initialization and momentum in deep learning. ICML 2013.
    """

    def __init__(self, lr: float, momentum: float = 0.0, nesterov: bool = False) -> None:
        super().__init__(lr)
        self.momentum: float = check_real("momentum", momentum, "[0, 1)")
        self.state_names: tuple[str, ...] = ("velocity",) if self.momentum else ()
        self.nesterov: bool = check_bool("nesterov", nesterov)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0, got 0")

    def _update(self, param: Array, grad: Array, lr: Any, *state: Array) -> None:
        if not state:
            add_scaled(param, grad, -float(lr))
            return
        (velocity,) = state
        momentum_step(param, grad, velocity, float(lr), self.momentum, self.nesterov)


class AdaGrad(Optimizer):
    """Per-parameter rates that shrink with all past gradients: s += grad**2; param -= lr * grad / (sqrt(s) + eps).

    Parameters
    ----------
    lr : float
        Learning rate, in (0, inf).
    eps : float
        In (0, inf).

    Raises
    ------
    ValueError, DTypeError
        A number out of its interval, or something else.

    References
    ----------
    Duchi, Hazan, Singer: Adaptive subgradient methods for online learning and stochastic optimization. JMLR 12, 2011.
    """

    state_names: tuple[str, ...] = ("sum_of_squares",)

    def __init__(self, lr: float = 0.01, eps: float = 1e-8) -> None:
        super().__init__(lr)
        self.eps: float = check_real("eps", eps, "(0, inf)")

    def _update(self, param: Array, grad: Array, lr: Any, *state: Array) -> None:
        (sum_of_squares,) = state
        sum_of_squares += grad * grad
        param -= lr * grad / (np.sqrt(sum_of_squares) + above_zero(self.eps, param.dtype))


class RMSProp(Optimizer):
    """Per-parameter rates by a running mean of squares: s = decay * s + (1 - decay) * grad**2;
    param -= lr * grad / (sqrt(s) + eps).

    Parameters
    ----------
    lr : float
        Learning rate, in (0, inf).
    decay : float
        In [0, 1): how much of the old mean is kept at each step.
    eps : float
        In (0, inf).

    Raises
    ------
    ValueError, DTypeError
        A number out of its interval, or something else.

    References
    ----------
    Tieleman, Hinton: Lecture 6.5, rmsprop. COURSERA: Neural Networks for Machine Learning, 2012.
    """

    state_names: tuple[str, ...] = ("mean_square",)

    def __init__(self, lr: float = 0.001, decay: float = 0.9, eps: float = 1e-8) -> None:
        super().__init__(lr)
        self.decay: float = check_real("decay", decay, "[0, 1)")
        self.eps: float = check_real("eps", eps, "(0, inf)")

    def _update(self, param: Array, grad: Array, lr: Any, *state: Array) -> None:
        (mean_square,) = state
        number = param.dtype.type
        mean_square *= number(self.decay)
        mean_square += number(1 - self.decay) * grad * grad
        param -= lr * grad / (np.sqrt(mean_square) + above_zero(self.eps, param.dtype))


class Adam(Optimizer):
    """Adaptive moments: m and v, running means of the gradient and its square, both corrected for their start.

    m = beta1 * m + (1 - beta1) * grad; v = beta2 * v + (1 - beta2) * grad**2;
    param -= lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps) at step t = 1, 2, ...

    Parameters
    ----------
    lr : float
        Learning rate, in (0, inf).
    beta1, beta2 : float
        In [0, 1): how much of the old moments is kept at each step.
    eps : float
        In (0, inf).

    Raises
    ------
    ValueError, DTypeError
        A number out of its interval, or something else.

    References
    ----------
    Kingma, Ba: Adam: a method for stochastic optimization. ICLR 2015.
    """

    state_names: tuple[str, ...] = ("first_moment", "second_moment")

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__(lr)
        self.beta1: float = check_real("beta1", beta1, "[0, 1)")
        self.beta2: float = check_real("beta2", beta2, "[0, 1)")
        self.eps: float = check_real("eps", eps, "(0, inf)")

    def _update(self, param: Array, grad: Array, lr: Any, *state: Array) -> None:
        adam_step(
            param,
            grad,
            *state,
            step=self.steps,
            lr=float(lr),
            beta1=self.beta1,
            beta2=self.beta2,
            eps=float(above_zero(self.eps, param.dtype)),
            decay=float(lr) * self._weight_decay_of(param),
        )

    def _weight_decay_of(self, param: Array) -> float:
        return 0.0


class AdamW(Adam):
    """Adam with decoupled weight decay: each step also takes lr * weight_decay * param off, past the moments.

    As in PyTorch, the decay follows the rate and its schedule, and is that of the parameter before the step. It is
    for weights, the parameters of 2 or more axes; biases and `BatchNorm`'s gamma and beta do not decay. It takes the
    place of the network's own L2 penalty: give the network `l2=0`, or the weights are drawn to 0 by both.

    Parameters
    ----------
    lr : float
        Learning rate, in (0, inf).
    beta1, beta2 : float
        In [0, 1): how much of the old moments is kept at each step.
    eps : float
        In (0, inf).
    weight_decay : float
        In [0, inf); 0 is `Adam`.

    References
    ----------
    Loshchilov, Hutter: Decoupled weight decay regularization. ICLR 2019.
    """

    def __init__(
        self,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(lr, beta1, beta2, eps)
        self.weight_decay: float = check_real("weight_decay", weight_decay, "[0, inf)")

    def _weight_decay_of(self, param: Array) -> float:
        return self.weight_decay if param.ndim >= 2 else 0.0
