"""Random noise: no gradient, the yardstick that an attack has to beat."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from counter_attack._distances import tensor_distances
from counter_attack.attacks._epsilon import AttackAt, EpsilonAttack, reached
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import Norm
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _Noise(EpsilonAttack):
    """Draws of noise that are added to the input and clipped to the domain.

    Attributes:
        runs: draws at each eps, for each input at most, >= 1.
    """

    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L1, Norm.L2)

    runs: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.runs < 1:
            raise InputError(f"The attack {self.name} needs at least 1 run; got {self.runs}.")

    @abstractmethod
    def draw(self, problem: AttackProblem, eps: Tensor, rows: Tensor) -> Tensor:
        """Noise of size at most eps for the inputs `rows`, shape (K, n)."""

    def prepare(self, problem: AttackProblem) -> AttackAt:
        """Nothing is shared between radii."""
        import torch

        def attack_at(eps: Tensor, rows: Tensor) -> None:
            for _ in range(self.runs):
                if not len(rows):
                    return
                with torch.no_grad():
                    problem.logits(problem.clip(problem.x[rows] + self.draw(problem, eps, rows)), rows)
                going = ~reached(problem, eps, rows)
                eps, rows = eps[going], rows[going]

        return attack_at


@dataclass(frozen=True)
class UniformNoise(_Noise):
    """Repeated uniform noise: every entry from [-eps, eps] in L-infinity.

    In L1 and L2, entries from [-1, 1] are scaled to a norm of eps. An input stops as soon as a draw is adversarial.

    Attributes:
        runs: draws at each eps, for each input at most, >= 1.
    """

    name: ClassVar[str] = "uniform"

    def draw(self, problem: AttackProblem, eps: Tensor, rows: Tensor) -> Tensor:
        """Noise of size at most eps for the inputs `rows`, shape (K, n)."""
        noise = 2 * problem.uniform(rows, problem.x.shape[1]) - 1
        return eps[:, None] * noise if self.norm is Norm.LINF else _scaled(noise, eps, self.norm)


@dataclass(frozen=True)
class GaussianNoise(_Noise):
    """Repeated Gaussian noise, scaled to a size of eps in `norm`.

    An input stops as soon as a draw is adversarial.

    Attributes:
        runs: draws at each eps, for each input at most, >= 1.
    """

    name: ClassVar[str] = "gaussian"

    def draw(self, problem: AttackProblem, eps: Tensor, rows: Tensor) -> Tensor:
        """Noise of size at most eps for the inputs `rows`, shape (K, n)."""
        return _scaled(problem.normal(rows, problem.x.shape[1]), eps, self.norm)


def _scaled(noise: Tensor, eps: Tensor, norm: Norm) -> Tensor:
    size = tensor_distances(noise, noise.new_zeros(noise.shape), norm)
    return noise * (eps / size)[:, None]
