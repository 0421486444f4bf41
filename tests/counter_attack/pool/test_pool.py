"""Pools of attacks on small networks, and what Ctrl-C leaves of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from counter_attack.attacks import Attack, AttackStop
from counter_attack.pool import Pool, PoolProgress, PoolResult
from mipverify_py import Norm
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo

if TYPE_CHECKING:
    from counter_attack.attacks import AttackProblem


@dataclass(frozen=True)
class _Towards(Attack):
    """Looks at one point on the way to a corner: x + share * (corner - x)."""

    name: ClassVar[str] = "towards"
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L2)

    corner: float = 1.0
    share: float = 1.0

    def run(self, problem: AttackProblem) -> None:
        problem.logits(problem.x + self.share * (self.corner - problem.x))


@dataclass(frozen=True)
class _Interrupted(_Towards):
    """Looks at its point and is then stopped."""

    def run(self, problem: AttackProblem) -> None:
        super().run(problem)
        raise KeyboardInterrupt


IMAGES, LABELS = (part[:12] for part in digits_test())


def test_the_closest_success_of_each_input_is_kept() -> None:
    network = load_zoo("digits_small_standard")
    attacks = {"white": _Towards(), "grey": _Towards(corner=0.5), "near": _Towards(corner=0.5, share=0.6)}
    seen: list[PoolProgress] = []
    result = Pool(attacks, seen.append)(network, IMAGES, LABELS, seed=3)
    assert list(result.results) == list(attacks)
    assert not result.interrupted
    for name, attack in attacks.items():
        alone = attack(network, IMAGES, LABELS, seed=3)
        column = result.table.only([name]).distance[:, 0]
        np.testing.assert_array_equal(column, alone.distance)
    for i in range(len(IMAGES)):
        found = {name: r.distance[i] for name, r in result.results.items() if r.success[i]}
        assert result.success[i] == bool(found)
        if not found:
            assert result.winner[i] is None
            assert np.isnan(result.distance[i])
            assert np.isnan(result.adversarial[i]).all()
            continue
        winner = min(found, key=lambda name: found[name])
        assert (result.winner[i], result.distance[i]) == (winner, found[winner])
        np.testing.assert_array_equal(result.adversarial[i], result.results[winner].adversarial[i])
    assert result.success.any()
    assert len({name for name in result.winner if name}) > 1  # otherwise the loop above shows little
    steps = [(p.attack, p.position, p.total, p.result is None) for p in seen]
    assert steps == [(name, i, 3, begins) for i, name in enumerate(attacks) for begins in (True, False)]


def test_an_interrupted_attack_ends_the_run_and_keeps_what_it_found() -> None:
    network = load_zoo("digits_small_standard")
    attacks = {"first": _Towards(corner=0.5), "cut": _Interrupted(), "never": _Towards()}
    result = Pool(attacks)(network, IMAGES, LABELS)
    assert result.interrupted
    assert list(result.results) == ["first", "cut"]
    assert result.results["cut"].stop_reason is AttackStop.INTERRUPTED
    np.testing.assert_array_equal(result.results["cut"].distance, _Towards()(network, IMAGES, LABELS).distance)


def test_an_interruption_between_attacks_keeps_those_that_are_done() -> None:
    def stop(progress: PoolProgress) -> None:
        if progress.attack == "second" and progress.result is None:
            raise KeyboardInterrupt

    network = load_zoo("digits_small_standard")
    result = Pool({"first": _Towards(), "second": _Towards(corner=0.5)}, stop)(network, IMAGES)
    assert (result.interrupted, list(result.results)) == (True, ["first"])


def test_an_interruption_before_any_result_is_passed_on() -> None:
    def stop(progress: PoolProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pool({"first": _Towards()}, stop)(load_zoo("digits_small_standard"), IMAGES)


def test_pools_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="at least one attack"):
        Pool({})
    with pytest.raises(InputError, match="share one norm; these are in l2, linf"):
        Pool({"a": _Towards(), "b": _Towards(norm=Norm.L2)})
    with pytest.raises(InputError, match="at least one"):
        PoolResult.of({})
    network = load_zoo("digits_small_standard")
    results = {"a": _Towards()(network, IMAGES), "b": _Towards()(network, IMAGES[:3])}
    with pytest.raises(InputError, match="same inputs"):
        PoolResult.of(results)
