"""Small trained models in ONNX files, for demos, tests and benchmarks: handwritten digits of 8 x 8 pixels, 10 classes.

Every model takes an input named `input` of shape (N, 1, 8, 8) with values in [0, 1] and gives logits of shape (N, 10).
Each architecture comes with standard and with adversarial training. `python -m onnx_models.zoo.train` made them.
"""

from onnx_models.zoo._card import ZooCard, load_zoo, zoo_card, zoo_models, zoo_path
from onnx_models.zoo._digits import WHITE, DigitsSplit, LabelledImages, digits_split, digits_test

__all__ = [
    "WHITE",
    "DigitsSplit",
    "LabelledImages",
    "ZooCard",
    "digits_split",
    "digits_test",
    "load_zoo",
    "zoo_card",
    "zoo_models",
    "zoo_path",
]
