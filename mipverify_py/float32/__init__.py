"""Answers that hold for every float32 evaluation of a model, beside those for its function of real numbers.

    >>> from mipverify_py.float32 import verify_float32
    >>> answer = verify_float32(query)                         # doctest: +SKIP
    >>> answer.lower, answer.upper, answer.real                # doctest: +SKIP

docs/explanation/float32.md says what is proved and which of the two answers to use.
"""

from mipverify_py.float32._result import Float32Result
from mipverify_py.float32._slack import rounding_slack
from mipverify_py.float32._verify import verify_float32
from mipverify_py.float32._witness import Float32Witness

__all__ = ["Float32Result", "Float32Witness", "rounding_slack", "verify_float32"]
