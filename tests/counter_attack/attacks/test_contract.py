"""The contract of attacks: what is checked, kept and counted, whoever the attack is."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from counter_attack._classifier import Classifier
from counter_attack._distances import distances, tensor_distances
from counter_attack.attacks import Attack, AttackProblem, AttackStop, Budget
from mipverify_py import Norm
from onnx_models import Array, NetworkBuilder, ReluNetwork, to_torch
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo
from tests.helpers.attacks import assert_sound, digits, exact_distances, size
from tests.helpers.networks import random_dense
from tests.helpers.queries import line_classifier


@dataclass(frozen=True)
class Scripted(Attack):
    """Does what the test says."""

    name: ClassVar[str] = "scripted"
    norms: ClassVar[tuple[Norm, ...]] = tuple(Norm)

    script: Callable[[AttackProblem], None] = AttackProblem.start

    def run(self, problem: AttackProblem) -> None:
        self.script(problem)


def showing(*points: float | list[float], norm: Norm = Norm.LINF) -> Scripted:
    """An attack that shows these points to the model, one call each, the same point for every input."""

    def script(problem: AttackProblem) -> None:
        for point in points:
            problem.logits(torch.tensor([point], dtype=torch.float64).reshape(1, -1).repeat(len(problem), 1))

    return Scripted(norm=norm, script=script)


def bisect_towards(problem: AttackProblem, halvings: int = 80) -> None:
    """Moves along a random direction onto the boundary, to the last bit, one input at a time."""
    far = problem.uniform(problem.rows, problem.x.shape[1])
    for row in range(len(problem)):
        rows, low, high = torch.tensor([row]), 0.0, 1.0
        for _ in range(halvings):
            t = (low + high) / 2
            point = problem.x[rows] + t * (far[rows] - problem.x[rows])
            if bool(problem.margin(problem.logits(point, rows), rows) >= 0):
                high = t
            else:
                low = t


# ---------------------------------------------------------------------------------------- successes, ties and failures


def test_the_closest_success_is_kept_whatever_the_order() -> None:
    result = showing(0.9, 0.6, 0.4, 0.8)(line_classifier(), [[0.2], [0.3]])
    assert result.success.all() and result.attack == "scripted" and result.stop_reason is AttackStop.FINISHED
    np.testing.assert_allclose(result.distance, [0.4, 0.3])
    np.testing.assert_array_equal(result.adversarial, [[0.6], [0.6]])
    np.testing.assert_array_equal(result.reference, [0, 0])
    np.testing.assert_array_equal(result.found, [1, 1])
    np.testing.assert_array_equal(result.calls, [5, 5])  # the inputs themselves are looked at, too


def test_a_tie_counts_and_is_named() -> None:
    result = showing(0.5, 0.75)(line_classifier(), [[0.25]])
    assert result.success[0] and result.tie[0] and result.distance[0] == 0.25
    assert result.found[0] == 0  # the least index among the two


def test_a_failure_is_explicit() -> None:
    result = showing(0.4)(line_classifier(), [[0.2], [0.7]])
    np.testing.assert_array_equal(result.success, [False, True])
    assert np.isnan(result.distance[0]) and np.isnan(result.adversarial[0]).all() and result.found[0] == -1
    assert result.found[1] == 0 and not result.tie.any()


@pytest.mark.parametrize(("norm", "expected"), [(Norm.LINF, 0.4), (Norm.L1, 0.7), (Norm.L2, 0.5)])
def test_distances_are_ours_in_each_norm(norm: Norm, expected: float) -> None:
    builder = NetworkBuilder((2,))
    network = builder.build(_dense(builder, 0, [[0.0, 0.0], [1.0, 1.0]], [0.0, -0.5]))
    result = showing([0.4, 0.5], norm=norm)(network, [[0.1, 0.1]])
    assert result.norm is norm and result.distance[0] == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("norm", list(Norm))
def test_both_distance_functions_agree_with_numpy(norm: Norm) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 12)), rng.normal(size=(7, 12))
    np.testing.assert_allclose(distances(x, y, norm), size(x - y, norm), rtol=1e-14)
    np.testing.assert_allclose(tensor_distances(torch.from_numpy(x), torch.from_numpy(y), norm), size(x - y, norm))


def test_a_point_outside_the_domain_counts_only_where_it_enters_it() -> None:
    # f_1 - f_0 = x - 0.5: beyond 1 the clipped point is still adversarial.
    outside = showing(3.0)(line_classifier(), [[0.2]])
    assert outside.success[0] and outside.adversarial[0, 0] == 1.0 and outside.distance[0] == pytest.approx(0.8)
    assert outside.calls[0] == 3  # the second look is counted
    # Within [0, 0.4] there is no adversarial point, though 3 is one.
    assert not showing(3.0)(line_classifier(), [[0.2]], domain=(0.0, 0.4)).success[0]


def test_points_that_are_not_numbers_are_no_successes() -> None:
    result = showing(float("nan"), float("inf"), float("nan"))(line_classifier(), [[0.2]])
    assert not result.success[0] and np.isnan(result.distance[0])
    assert showing(float("nan"), 0.6)(line_classifier(), [[0.2]]).distance[0] == pytest.approx(0.4)


@pytest.mark.parametrize("model", ["digits_small_standard", "digits_conv_standard"])
def test_points_on_the_boundary_survive_the_last_test(model: str) -> None:
    """Evaluated one by one and then side by side, half of such points change sides by rounding."""
    network, x, kept = load_zoo(model), digits(41), []

    def script(problem: AttackProblem) -> None:
        bisect_towards(problem)
        kept.append(problem.best_distance.numpy().copy())

    result = Scripted(script=script)(network, x)
    np.testing.assert_array_equal(result.success, np.isfinite(kept[0]))
    assert result.success.sum() > 20
    np.testing.assert_allclose(result.distance[result.success], kept[0][result.success], rtol=2e-9)
    assert_sound(result, network, x)


def test_the_result_is_tested_anew() -> None:
    """A closest success that the model does not confirm in the end is no success."""

    def script(problem: AttackProblem) -> None:
        problem.best[:] = problem.x + 0.1
        problem.best_distance[:] = 0.1

    result = Scripted(script=script)(line_classifier(), [[0.2], [0.45]])
    np.testing.assert_array_equal(result.success, [False, True])
    assert np.isnan(result.distance[0])


def test_distances_are_measured_anew() -> None:
    def script(problem: AttackProblem) -> None:
        problem.best[:] = 0.9
        problem.best_distance[:] = 1e-6

    assert Scripted(script=script)(line_classifier(), [[0.2]]).distance[0] == pytest.approx(0.7)


@pytest.mark.parametrize("seed", range(5))
def test_random_points_never_come_below_the_exact_distance(seed: int) -> None:
    network, x = load_zoo("digits_small_standard"), digits(8)

    def script(problem: AttackProblem) -> None:
        for eps in (0.05, 0.1, 0.2, 0.4):
            problem.logits(problem.clip(problem.x + eps * problem.normal(problem.rows, problem.x.shape[1]).sign()))

    result = Scripted(script=script)(network, x, seed=seed)
    assert_sound(result, network, x)
    assert np.all(result.distance[result.success] >= exact_distances("digits_small_standard", 8)[result.success])


# ------------------------------------------------------------------------------------------- labels, targets and shapes


def test_an_input_that_is_adversarial_itself_has_distance_zero() -> None:
    calls: list[AttackProblem] = []
    result = Scripted(script=calls.append)(line_classifier(), [[0.8], [0.7]], label=0)
    assert not calls  # nothing is left to do
    np.testing.assert_array_equal(result.distance, [0.0, 0.0])
    np.testing.assert_array_equal(result.adversarial, [[0.8], [0.7]])
    np.testing.assert_array_equal(result.calls, [1, 1])


def test_labels_are_one_for_all_or_one_for_each() -> None:
    x = [[0.8], [0.3]]
    np.testing.assert_array_equal(showing(0.6)(line_classifier(), x).reference, [1, 0])
    np.testing.assert_array_equal(showing(0.6)(line_classifier(), x, label=[0, 0]).reference, [0, 0])
    settled = showing(0.6)(line_classifier(), x, label=np.int32(0))
    np.testing.assert_allclose(settled.distance, [0.0, 0.3])


def three_classes() -> ReluNetwork:
    """Logits 0, x - 0.3 and 0.5 - x: class 2 up to 0.4, class 1 beyond."""
    builder = NetworkBuilder((1,))
    return builder.build(_dense(builder, 0, [[0.0], [1.0], [-1.0]], [0.0, -0.3, 0.5]))


def test_targets_say_which_classes_count() -> None:
    # From x = 0.1 (class 2): class 1 overtakes 2 at 0.4, class 0 does at 0.5.
    attack = showing(0.45, 0.55)
    assert attack(three_classes(), [[0.1]]).adversarial[0, 0] == 0.45
    assert attack(three_classes(), [[0.1]], targets=1).adversarial[0, 0] == 0.45
    assert attack(three_classes(), [[0.1]], targets=0).adversarial[0, 0] == 0.55
    assert attack(three_classes(), [[0.1]], targets=[0, 1]).adversarial[0, 0] == 0.45
    each = attack(three_classes(), [[0.1], [0.1]], targets=np.array([[0], [1]]))
    np.testing.assert_array_equal(each.adversarial, [[0.55], [0.45]])


def test_one_input_may_come_without_its_batch() -> None:
    network, x = load_zoo("digits_small_standard"), digits(1)
    flat = showing([1.0] * 64)(network, x[0])
    image = showing([1.0] * 64)(network, x.reshape(1, 8, 8))
    assert flat.distance.shape == (1,) and flat.adversarial.shape == (1, 64)
    np.testing.assert_array_equal(flat.adversarial, image.adversarial)


def test_a_torch_module_is_attacked_as_the_network_is() -> None:
    network, x = load_zoo("digits_small_standard"), digits(6)
    module = to_torch(network).float().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    attack = Scripted(script=lambda problem: bisect_towards(problem, 20))
    ours, theirs = attack(network, x), attack(module, x.reshape(6, *network.input_shape))
    np.testing.assert_allclose(ours.distance, theirs.distance, rtol=1e-5)
    assert module.training and next(module.parameters(), torch.zeros(1)).dtype is torch.float32
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    again = attack(Classifier.of(network), x)
    np.testing.assert_array_equal(again.distance, ours.distance)


def test_gradients_are_those_of_finite_differences() -> None:
    network = random_dense(np.random.default_rng(3), max_relus=6)
    x = np.random.default_rng(4).random((3, network.input_size))
    problem = AttackProblem(network, x)
    rows = torch.tensor([2, 0])
    points = problem.x[rows]
    logits, slope = problem.gradient(points, lambda values: problem.margin(values, rows), rows)
    np.testing.assert_allclose(logits, network.forward_batch(points.numpy()), atol=1e-12)
    for entry in range(network.input_size):
        step = torch.zeros_like(points)
        step[:, entry] = 1e-7
        ends = [problem.margin(problem.classifier.logits(points + sign * step), rows) for sign in (1, -1)]
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-7, slope[:, entry], atol=1e-6)


# -------------------------------------------------------------------------------------------------- budgets and stops


def forever(problem: AttackProblem) -> None:
    point = 1.0
    while True:
        problem.logits(torch.full_like(problem.x, point))
        point = max(0.5, point * 0.99)


@pytest.mark.parametrize("calls", [1, 2, 7])
def test_a_budget_of_calls_is_kept(calls: int) -> None:
    result = Scripted(script=forever)(line_classifier(), [[0.2], [0.1]], budget=Budget(calls=calls))
    assert result.stop_reason is AttackStop.BUDGET
    np.testing.assert_array_equal(result.calls, [calls, calls])
    assert result.success.all() == (calls > 1)


def test_a_budget_of_seconds_ends_the_attack_with_what_it_has() -> None:
    result = Scripted(script=forever)(line_classifier(), [[0.2]], budget=Budget(seconds=0.2))
    assert result.stop_reason is AttackStop.TIME
    assert result.seconds >= 0.2 and result.success[0]


def test_ctrl_c_returns_the_best_so_far() -> None:
    def script(problem: AttackProblem) -> None:
        problem.logits(torch.full_like(problem.x, 0.75))
        signal.raise_signal(signal.SIGINT)
        time.sleep(60)

    result = Scripted(script=script)(line_classifier(), [[0.25]])
    assert result.stop_reason is AttackStop.INTERRUPTED and result.distance[0] == 0.5


def test_other_errors_pass_through() -> None:
    def script(problem: AttackProblem) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Scripted(script=script)(line_classifier(), [[0.25]])


def test_rows_count_for_their_own_inputs() -> None:
    def script(problem: AttackProblem) -> None:
        rows = torch.tensor([1, 1, 2])
        problem.logits(torch.tensor([[0.9], [0.6], [0.7]], dtype=torch.float64), rows)

    result = Scripted(script=script)(line_classifier(), [[0.2], [0.2], [0.2]])
    np.testing.assert_array_equal(result.calls, [1, 3, 2])
    np.testing.assert_array_equal(result.success, [False, True, True])
    np.testing.assert_array_equal(result.adversarial[1:], [[0.6], [0.7]])


def test_draws_follow_the_seed_and_leave_torch_alone() -> None:
    drawn: list[Array] = []

    def script(problem: AttackProblem) -> None:
        drawn.append(np.concatenate([problem.uniform(problem.rows, 2, 3)[0], problem.normal(problem.rows, 2, 3)[0]]))

    state = torch.random.get_rng_state()
    for seed in (0, 0, 1):
        Scripted(script=script)(line_classifier(), [[0.2]], seed=seed)
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.any(drawn[0] == drawn[2])
    assert np.all((drawn[0][:2] >= 0) & (drawn[0][:2] < 1))


# ---------------------------------------------------------------------------------------------------------- bad input

LINE = [[0.2], [0.3]]


@pytest.mark.parametrize(
    ("x", "arguments", "message"),
    [
        ([[0.2, 0.3]], {}, r"shape \(1, 2\)"),
        ([], {}, "shape"),
        ("cat", {}, "array of numbers"),
        ([[float("nan")]], {}, "not finite"),
        ([[1.5]], {}, "Input 0 has 1.5 at entry 0, outside the domain"),
        (LINE, {"label": 2}, "Labels run from 0 to 1"),
        (LINE, {"label": -1}, "Labels run from 0 to 1"),
        (LINE, {"label": 0.0}, "whole numbers"),
        (LINE, {"label": [0, 0, 0]}, "Labels have to be 2"),
        (LINE, {"targets": 2}, "Targets run from 0 to 1"),
        (LINE, {"targets": 0}, "Input 0 has class 0 already"),
        (LINE, {"targets": "one"}, "class numbers"),
        (LINE, {"targets": [[1], [1], [1]]}, "Targets have shape"),
        (LINE, {"targets": []}, "class numbers"),
        (LINE, {"domain": (1.0, 0.0)}, "at most the upper"),
        (LINE, {"domain": (0.0, float("inf"))}, "finite ends"),
        (LINE, {"domain": (0.0, 1.0, 2.0)}, "two numbers"),
        (LINE, {"domain": 1.0}, "two numbers"),
        (LINE, {"domain": ([0.0, 0.0], 1.0)}, "two numbers"),
        (LINE, {"seed": 1.5}, "seed"),
        (LINE, {"seed": 2**64}, "seed"),
    ],
)
def test_bad_arguments_are_named(x: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        showing(0.6)(line_classifier(), x, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("model.onnx", "got str"),
        (torch.nn.Linear(3, 2), "does not take inputs of shape"),
        (torch.nn.Linear(1, 1), "expected logits"),
        (torch.nn.Flatten(0), "expected logits"),
        (torch.nn.LSTM(1, 2), "gives a tuple"),
    ],
)
def test_bad_models_are_named(model: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        showing(0.6)(model, LINE)


def test_a_model_without_finite_logits_is_named() -> None:
    model = torch.nn.Linear(1, 2)
    with torch.no_grad():
        model.bias[0] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        showing(0.6)(model, LINE)


@pytest.mark.parametrize("arguments", [{"calls": 0}, {"calls": -3}, {"seconds": 0.0}, {"seconds": float("nan")}])
def test_empty_budgets_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="allows nothing"):
        Budget(**arguments)


def test_norms_that_an_attack_does_not_have_are_refused() -> None:
    @dataclass(frozen=True)
    class Narrow(Scripted):
        norms: ClassVar[tuple[Norm, ...]] = (Norm.L2,)

    with pytest.raises(InputError, match="scripted does not work in linf; it does in l2"):
        Narrow()
    with pytest.raises(InputError, match="has to be a Norm"):
        Scripted(norm="linf")  # type: ignore[arg-type]


def _dense(builder: NetworkBuilder, node: int, weight: list[list[float]], bias: list[float]) -> int:
    from onnx_models import DenseMap

    return builder.affine([node], [DenseMap(np.array(weight))], np.array(bias))
