"""A substitute: a network of one's own, trained on the answers of a model of which nothing else is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counter_attack._classifier import Classifier
from counter_attack.attacks._problem import AttackProblem
from onnx_models import Array
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Oracle = Callable[[Array], NDArray[np.int64]]
"""Classes, shape (K,), of inputs, shape (K, n): all that a black-box attacker sees of a model."""


@dataclass(frozen=True, slots=True)
class SubstitutePlan:
    """How a substitute is made; see `train_substitute`.

    Attributes:
        rounds: trainings; between two of them the training set doubles, >= 1.
        step: lambda, how far new inputs are from those that they are made of, in each entry, > 0.
        period: after so many rounds the sign of lambda changes, >= 1.
        hidden: units of the substitute's hidden layers, each >= 1; none makes it linear.
        epochs: passes of Adam over the training set in every round, >= 1.
        learning_rate: of Adam, > 0.
        batch_size: inputs per step of Adam, >= 1.
        seed: of weights and orders.

    Raises:
        InputError: a value out of range.
    """

    rounds: int = 4
    step: float = 0.1
    period: int = 2
    hidden: tuple[int, ...] = (64,)
    epochs: int = 40
    learning_rate: float = 3e-3
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rounds", "period", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"A substitute needs {name} >= 1; got {getattr(self, name)}.")
        if not (self.step > 0 and self.learning_rate > 0) or any(units < 1 for units in self.hidden):
            raise InputError(
                f"A substitute needs a step and a learning rate above 0 and hidden layers of at least 1 unit; got "
                f"{self.step}, {self.learning_rate} and {self.hidden}."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Substitute:
    """A trained substitute.

    Attributes:
        classifier: the network, for attacks.
        queries: inputs that the oracle was asked about.
        agreement: for each round, the share of its training set that the substitute then gives the oracle's class.
    """

    classifier: Classifier
    queries: int
    agreement: tuple[float, ...]


def oracle_of(model: Classifier) -> Oracle:
    """The classes that a model predicts, and nothing else of it."""

    def answer(rows: Array) -> NDArray[np.int64]:
        import torch

        with torch.no_grad():
            logits = model.logits(torch.from_numpy(np.array(rows)).to(model.device))
        return np.asarray(logits.argmax(dim=1).cpu().numpy())

    return answer


def train_substitute(
    oracle: Oracle,
    x: ArrayLike,
    plan: SubstitutePlan | None = None,
    *,
    classes: int,
    domain: tuple[ArrayLike, ArrayLike] = (0.0, 1.0),
) -> Substitute:
    """Trains a network to answer as the oracle does (Papernot et al. 2017, "Practical black-box attacks", alg. 1).

    Round r trains a network F from fresh weights on the set S and its labels O(S); then
    S <- S and {clip(x + lambda_r sign(dF_O(x) / dx)) : x in S},  lambda_r = lambda (-1)^floor(r / period):
    Jacobian-based augmentation asks the oracle where the substitute's answer changes fastest. The paper also caps the
    growth of S by reservoir sampling (its section 5.3), which is not done here: S doubles in every round.

    Args:
        oracle: answers queries.
        x: the attacker's own inputs, shape (N, n), in the domain.
        plan: how; None: the defaults.
        classes: how many classes the oracle tells apart.
        domain: valid inputs, two numbers or two arrays of n entries, finite.

    Raises:
        InputError: inputs that do not fit, or an oracle that gives something else than classes.
    """
    import torch

    plan = plan or SubstitutePlan()
    rows = np.asarray(x, dtype=np.float64)
    if rows.ndim != 2 or not rows.size or not np.all(np.isfinite(rows)):
        raise InputError(f"A substitute is trained on finite inputs of shape (N, n), N >= 1; got {rows.shape}.")
    lower, upper = (np.broadcast_to(np.asarray(end, dtype=np.float64).ravel(), rows.shape[1:]) for end in domain)
    labels = _asked(oracle, rows, classes)
    agreement: list[float] = []
    generator = torch.Generator().manual_seed(plan.seed)
    for turn in range(plan.rounds):
        module = _fresh(rows.shape[1], classes, plan, turn)
        _fit(module, torch.from_numpy(rows), torch.from_numpy(labels), plan, generator)
        source = Classifier.of(module, shape=rows.shape[1:])
        agreement.append(float(np.mean(oracle_of(source)(rows) == labels)))
        if turn == plan.rounds - 1:
            return Substitute(source, len(rows), tuple(agreement))
        sign = -1.0 if turn // plan.period % 2 else 1.0
        new = np.clip(rows + sign * plan.step * _directions(source, rows, labels), lower, upper)
        rows, labels = np.concatenate([rows, new]), np.concatenate([labels, _asked(oracle, new, classes)])
    raise AssertionError("there is at least one round")


def _asked(oracle: Oracle, rows: Array, classes: int) -> NDArray[np.int64]:
    found = np.asarray(oracle(rows))
    if found.shape != (len(rows),) or found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= classes:
        raise InputError(
            f"The oracle has to give {len(rows)} classes from 0 to {classes - 1}; got {found.dtype} "
            f"of shape {found.shape}."
        )
    return found.astype(np.int64)


def _fresh(inputs: int, classes: int, plan: SubstitutePlan, turn: int) -> nn.Sequential:
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed + turn)
        layers: list[nn.Module] = []
        for units in plan.hidden:
            layers += [nn.Linear(inputs, units), nn.ReLU()]
            inputs = units
        return nn.Sequential(*layers, nn.Linear(inputs, classes)).double()


def _fit(module: nn.Module, x: Tensor, labels: Tensor, plan: SubstitutePlan, generator: torch.Generator) -> None:
    import torch
    from torch.nn import functional

    optimiser = torch.optim.Adam(module.parameters(), lr=plan.learning_rate)
    for _ in range(plan.epochs):
        for rows in torch.split(torch.randperm(len(x), generator=generator), plan.batch_size):
            optimiser.zero_grad()
            loss = functional.cross_entropy(module(x[rows]), labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()


def _directions(source: Classifier, rows: Array, labels: NDArray[np.int64]) -> Array:
    """Signs of the gradients of the logits that the oracle's classes have, shape (N, n)."""
    import torch

    problem = AttackProblem(source, rows, domain=(rows.min(), rows.max()))
    chosen = torch.from_numpy(labels)[:, None]
    slope = problem.gradient(problem.x, lambda logits: logits.gather(1, chosen)[:, 0])[1]
    return np.asarray(slope.sign().numpy())
