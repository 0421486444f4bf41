"""The calculator: the arithmetic of a claim, and what it may be held against."""

from __future__ import annotations

from fractions import Fraction

import pytest

from counter_attack.reductions import DATA_SETS, KNOWN, Claim, compare_claim
from mipverify_py import Norm
from onnx_models.errors import InputError

EIGHT = Fraction(8, 255)


def claim(**changes: object) -> Claim:
    plain = {
        "norm": Norm.LINF,
        "eps": 2 * EIGHT,
        "false_positives": Fraction(5, 100),
        "false_negatives": Fraction(3, 100),
        "accuracy": Fraction(95, 100),
        "data_set": "cifar10",
    }
    return Claim(**{**plain, **changes})  # type: ignore[arg-type]


def test_the_implied_classifier() -> None:
    found = claim()
    assert found.detection_risk == Fraction(13, 100)
    assert found.implied_eps == EIGHT and found.implied_accuracy == Fraction(87, 100)


def test_rates_that_add_up_to_more_than_all_imply_nothing() -> None:
    found = claim(false_positives=Fraction(1, 2), false_negatives=Fraction(3, 4))
    assert found.detection_risk == 1 and found.implied_accuracy == 0


def test_comparison_with_known_results_at_the_same_radius() -> None:
    rows = compare_claim(claim())
    assert {row.known.robust for row in rows} == {Fraction("0.6656"), Fraction("0.7069")}
    assert all(row.applies and row.is_beyond for row in rows)
    assert rows[1].excess == Fraction("0.1631")


def test_a_larger_radius_is_compared_and_a_smaller_one_is_not() -> None:
    assert all(row.applies for row in compare_claim(claim(eps=Fraction(1))))
    for row in compare_claim(claim(eps=EIGHT)):
        assert not row.applies and row.excess is None and row.is_beyond is None


def test_a_modest_claim_is_not_beyond() -> None:
    rows = compare_claim(claim(accuracy=Fraction(3, 4)))  # 0.67: above one result, below the other
    assert [row.is_beyond for row in rows] == [True, False]


def test_other_norms_and_data_sets_have_their_own_results() -> None:
    assert compare_claim(claim(norm=Norm.L1)) == ()
    assert compare_claim(claim(data_set=None)) == ()
    assert {row.known.norm for row in compare_claim(claim(norm=Norm.L2, eps=Fraction(1)))} == {Norm.L2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"false_positives": Fraction(-1, 10)}, "false positive rate"),
        ({"false_negatives": Fraction(11, 10)}, "false negative rate"),
        ({"accuracy": Fraction(95)}, "accuracy"),
        ({"eps": Fraction(0)}, "eps"),
        ({"norm": "linf"}, "norm"),
    ],
)
def test_claims_that_are_none_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        claim(**changes)


def test_known_results_are_shares_with_a_source() -> None:
    assert set(DATA_SETS) == {row.data_set for row in KNOWN}
    for row in KNOWN:
        assert 0 < row.robust < row.clean < 1 and 0 < row.eps < 1
        assert row.paper.startswith("arXiv ") and "commit" in row.source
