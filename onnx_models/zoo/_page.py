"""The zoo's page in the reference, made from its cards."""

from __future__ import annotations

from collections.abc import Iterable

from onnx_models.zoo._card import ZooCard
from onnx_models.zoo._digits import TEST_ROWS, VALIDATION_ROWS

_INTRODUCTION = """\
# The zoo

<!-- Written by `python -m onnx_models.zoo.train`; edit onnx_models/zoo/_page.py instead. -->

Small trained models, packaged as ONNX files. They classify the handwritten digits that come with scikit-learn (1,797
images of 8 x 8 pixels; E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, CC BY 4.0), pixels divided by
16 to [0, 1]. The last {test} rows of a fixed order are the test rows, the {validation} before them helped to choose the
settings, the rest trained the models. `--dataset digits` numbers the test rows from 0.

Every model takes an input `input` of shape (N, 1, 8, 8) and gives `logits` of shape (N, 10), in float32. Adversarial
training replaced each batch by the end points of projected gradient ascent (PGD, 10 steps) within L-infinity distance
`eps`. *ReLUs* counts units after lowering, where a maximum over four pixels needs three. *Accuracy* is the share of the
test rows classified correctly; *under attack* is the share that stays correct under PGD (40 steps, 5 restarts) with
L-infinity radius {attack_eps:g}. An attack can miss, so the robust accuracy is at most that.

| model | layers | eps | weights | ReLUs | accuracy | under attack |
|---|---|---|--:|--:|--:|--:|
"""

_CLOSING = """
`python -m onnx_models.zoo.train` trains all of them again and rewrites this page. The seeds are fixed; the same
versions on the same machine give the same weights, another processor may round differently.

## Python

::: onnx_models.zoo
"""


def reference_page(cards: Iterable[ZooCard]) -> str:
    """The page in markdown, with one row per card; all cards must have the same `attack_eps`."""
    rows = list(cards)
    (attack_eps,) = {card.attack_eps for card in rows}
    introduction = _INTRODUCTION.format(test=TEST_ROWS, validation=VALIDATION_ROWS, attack_eps=attack_eps)
    return introduction + "".join(map(_row, rows)) + _CLOSING


def _row(card: ZooCard) -> str:
    eps = "none" if card.eps is None else f"{card.eps:g}"
    return (
        f"| `{card.name}` | {card.architecture} | {eps} | {card.parameters:,} | {card.relus} "
        f"| {card.accuracy:.2%} | {card.attacked_accuracy:.2%} |\n"
    )
