"""What users pass by mistake, or as numpy and torch scalars, to the Python API."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mipverify_py import LinfBall, Norm, Objective, Options, Query, Targets, Tightening, Witness, distance, verify
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError


def identity_classifier(classes: int = 3) -> ReluNetwork:
    builder = NetworkBuilder((classes,))
    return builder.build(builder.affine([0], [DenseMap(np.eye(classes))]))


X0 = np.array([0.5, 0.25, 0.0])


@pytest.mark.parametrize("one", [1, np.int64(1), np.uint8(1), np.array(1), torch.tensor(1)])
def test_integers_of_any_make_are_classes(one: object) -> None:
    query = Query(identity_classifier(), X0, label=one)  # type: ignore[arg-type]
    assert query.reference == 1 and type(query.reference) is int
    assert Targets.only(one) == Targets.only([one]) == Targets((1,))  # type: ignore[arg-type,list-item]
    assert Targets.excluding(one).resolve(0, 3) == (2,)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [True, np.True_, 1.0, "1", np.array([1.5])])
def test_other_things_are_no_classes(wrong: object) -> None:
    with pytest.raises(InputError, match="The label is .* whole number"):
        Query(identity_classifier(), X0, label=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="A target class is .* whole number"):
        Targets.only(wrong)  # type: ignore[arg-type]


def test_enums_may_be_given_by_value() -> None:
    query = Query(identity_classifier(), X0, objective="worst", norm="linf")  # type: ignore[arg-type]
    assert query.objective is Objective.WORST and query.norm is Norm.LINF
    assert Options(tightening="lp").tightening is Tightening.LP  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "nearest"}, "The objective is 'nearest'; it must be one of Objective.CLOSEST"),
        ({"norm": 2}, "The norm is 2"),
        ({"margin": "0.1"}, "The margin is '0.1'; it must be a number"),
        ({"perturbation": 0.1}, "The perturbation is of type float"),
        ({"domain": (0, 1)}, "The domain is of type tuple"),
        ({"targets": 1}, "The targets argument is of type int"),
        ({"network": "model.onnx"}, "The network is of type str"),
        ({"x0": ["a", "b", "c"]}, "cannot be read as an array of numbers"),
        ({"x0": torch.zeros(3, requires_grad=True)}, "cannot be read as an array of numbers.*detach"),
    ],
)
def test_bad_query_arguments(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"network": identity_classifier(), "x0": X0} | change
    with pytest.raises(InputError, match=message):
        Query(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"tightening": "all"},
        {"time_limit": "5"},
        {"time_limit": float("inf")},
        {"threads": 1.5},
        {"seed": True},
        {"restarts": None},
        {"node_limit": 2.5},
        {"gap_absolute": None},
        {"backend": None},
    ],
)
def test_bad_option_types(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"Option {next(iter(change))} is"):
        Options(**change)  # type: ignore[arg-type]


def test_bad_radius_types_and_float32() -> None:
    with pytest.raises(InputError, match="radius"):
        LinfBall("0.1")  # type: ignore[arg-type]
    assert LinfBall(np.float32(0.1)).radius == float(np.float32(0.1))  # type: ignore[arg-type]


def test_entry_points_name_the_wrong_argument() -> None:
    with pytest.raises(InputError, match="network is of type str"):
        distance("model.onnx", X0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="query is of type ReluNetwork"):
        verify(identity_classifier())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="options argument is of type dict"):
        distance(identity_classifier(), X0, options={"seed": 1})  # type: ignore[arg-type]


def test_outputs_that_overflow_are_refused() -> None:
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1e200]]))]))
    network = builder.build(builder.affine([hidden], [DenseMap(np.array([[0.0], [1e200]]))]))
    with np.errstate(over="ignore"), pytest.raises(InputError, match="overflow"):
        Query(network, np.array([0.5]))


def test_a_query_keeps_its_own_copy_of_the_input() -> None:
    x0 = X0.copy()
    query = Query(identity_classifier(), x0)
    x0[:] = 0.0
    assert query.x0.tolist() == X0.tolist()


def test_channels_last_is_not_channels_first() -> None:
    builder = NetworkBuilder((3, 2, 2))
    network = builder.build(builder.affine([0], [DenseMap(np.eye(12))]))
    with pytest.raises(InputError, match=r"\(2, 2, 3\)"):
        Query(network, np.zeros((2, 2, 3)))
    with pytest.raises(InputError, match=r"\(5, 2, 2, 3\)"):
        network.forward_batch(np.zeros((5, 2, 2, 3)))
    for shape in ((12,), (3, 2, 2), (1, 3, 2, 2)):
        assert Query(network, np.zeros(shape)).x0.shape == (12,)


def test_a_witness_takes_the_shapes_that_the_model_takes() -> None:
    query = Query(identity_classifier(), X0)
    assert Witness(query, np.array([[0.0, 1.0, 0.0]])).point.shape == (3,)
    with pytest.raises(InputError, match="shape"):
        Witness(query, np.ones(1))
