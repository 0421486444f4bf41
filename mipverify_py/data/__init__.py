"""Images and other inputs: labelled data sets, single files, and how an array is fitted to a model's input shape.

Nothing here unpickles anything; sizes that a file declares are bounded before memory is taken for them.
"""

from mipverify_py.data._cifar10 import read_cifar10
from mipverify_py.data._dataset import DataSet
from mipverify_py.data._digits import read_digits
from mipverify_py.data._files import InputFile, read_input
from mipverify_py.data._fit import fit_arrays, fit_images
from mipverify_py.data._mnist import read_mnist

__all__ = [
    "DataSet",
    "InputFile",
    "fit_arrays",
    "fit_images",
    "read_cifar10",
    "read_digits",
    "read_input",
    "read_mnist",
]
