"""One perturbation for all inputs: its size, what it does to inputs, and its file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from counter_attack._share import Share
from counter_attack._subject import Subject, sizes
from counter_attack.attacks._contract import AttackStop
from mipverify_py import Norm
from onnx_models import Array
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class UniversalPerturbation:
    """A vector v that is added to every input.

    Attributes:
        method: "projection" or "singular".
        norm, eps: |v| <= eps, without any allowance for rounding.
        vector: v, shape (n,).
        progress: what the method made larger, step by step: the fooling ratio on its inputs after each pass
            (projection), or the value |J v|_q of the best start after each iteration (singular).
        stop: why the method ended: FINISHED (enough inputs fooled, or no step was of use any more), BUDGET (it had used
            up its passes or steps), TIME or INTERRUPTED.
    """

    method: str
    norm: Norm
    eps: float
    vector: Array
    progress: tuple[float, ...]
    stop: AttackStop

    def __post_init__(self) -> None:
        assert size(self.vector, self.norm) <= self.eps

    def apply(self, subject: Subject) -> Array:
        """The subject's inputs with v added, clipped to the domain, shape (N, n)."""
        return subject.clip(subject.x + self.vector)

    def fooling(self, subject: Subject) -> Share:
        """The fooling ratio: of how many of the subject's inputs the model gives another class with v; ties count."""
        return Share.true(subject.fooled(self.apply(subject)))

    def save(self, path: Path, shape: tuple[int, ...], digest: str) -> None:
        """Writes the arrays `vector` (in the model's shape), `progress` and what else belongs to it as .npz.

        Raises:
            InputError: the file cannot be written.
        """
        from counter_attack.training._files import write_whole

        stream = io.BytesIO()
        np.savez(
            stream,
            vector=self.vector.reshape(shape),
            progress=np.array(self.progress),
            stop=np.array(self.stop.value),
            method=np.array(self.method),
            norm=np.array(self.norm.value),
            eps=np.array(self.eps),
            digest=np.array(digest),
        )
        write_whole(path, stream.getvalue())

    @classmethod
    def load(cls, path: Path) -> UniversalPerturbation:
        """Reads what `save` wrote.

        Raises:
            InputError: there is no such file, or it holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(
                    method=str(file["method"]),
                    norm=Norm(str(file["norm"])),
                    eps=float(file["eps"]),
                    vector=np.asarray(file["vector"], dtype=np.float64).ravel(),
                    progress=tuple(np.asarray(file["progress"], dtype=np.float64).tolist()),
                    stop=AttackStop(str(file["stop"])),
                )
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
        except (ValueError, KeyError, AssertionError) as error:
            raise InputError(
                f"{path}: holds no universal perturbation; make one with counter-attack universal."
            ) from error


def size(vector: Array, norm: Norm) -> float:
    """|vector|, shape (n,)."""
    return float(sizes(vector[None], norm)[0])


def shortened(vector: Array, eps: float, norm: Norm) -> Array:
    """The vector, made shorter by as little as brings its size, measured in float64, to at most eps."""
    share, found = 1.0, vector
    while size(found, norm) > eps:
        share -= float(np.finfo(np.float64).eps)
        found = np.asarray(share * vector)
    return found


def random_perturbation(subject: Subject, eps: float) -> UniversalPerturbation:
    """Random noise of size eps, the same for every input: what a universal perturbation has to beat.

    Entries are eps or -eps at random in L-infinity and normal draws, scaled to eps, in L1 and L2.
    """
    drawn = np.asarray(np.random.default_rng(subject.seed).standard_normal((subject.x.shape[1],)))
    unit: Array = np.sign(drawn) if subject.norm is Norm.LINF else drawn / size(drawn, subject.norm)
    vector = shortened(eps * unit, eps, subject.norm)
    return UniversalPerturbation("random", subject.norm, eps, vector, (), AttackStop.FINISHED)
