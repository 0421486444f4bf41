"""Every error this project raises for a user, in one tree.

    MipverifyError
    |-- ModelError (ValueError)           the model file or module cannot be used
    |   |-- ModelFileError                not ONNX, truncated, unsafe, NaN weights, several inputs
    |   |-- UnsupportedModelError         operators or attributes outside the supported list
    |   `-- CrossCheckError               our evaluation and onnxruntime's disagree
    |-- InputError (ValueError)           an input, option or data set is unusable as given
    |   `-- CampaignError                 a campaign's store, or what is put into one (mipverify_py.campaigns)
    |       |-- StoreBusyError            somebody else is writing to it
    |       `-- StoreUnreachableError     its file cannot be used at the moment
    |-- StoreFullError (OSError)          a campaign's store cannot grow; all before is in it (mipverify_py.campaigns)
    |-- ExecutorError (RuntimeError)      a campaign's workers as a whole cannot go on (mipverify_py.campaigns)
    |-- InvalidBoundsError (ValueError)   bounds that cross or are not numbers: a bug or a solver failure
    `-- BackendError (RuntimeError)       a solver cannot be used or failed
        |-- BackendMissingError (ImportError)   its package is not installed
        |-- BackendLimitError             the model is larger than the solver's licence allows
        |-- BackendAbilityError           the solver cannot solve models of this kind
        `-- BackendCrashError             its process died or answered nonsense

A message says what arrived, what was expected and what to do next, in one line where that is possible.
"""


class MipverifyError(Exception):
    """Base of all errors that are addressed to the user."""


class ModelError(MipverifyError, ValueError):
    """The model cannot be used."""


class ModelFileError(ModelError):
    """The file is missing, is not a sound ONNX file, or is unsafe to read."""


class UnsupportedModelError(ModelError):
    """The graph uses operators or attributes that cannot be lowered to affine maps and ReLUs."""


class CrossCheckError(ModelError):
    """The lowered network and onnxruntime (or torch) disagree on the same input."""


class InputError(MipverifyError, ValueError):
    """An input, label, option or data set is unusable as given."""


class InvalidBoundsError(MipverifyError, ValueError):
    """Bounds cross or are not numbers; never repaired silently."""


class BackendError(MipverifyError, RuntimeError):
    """A solver could not be used or failed."""


class BackendMissingError(BackendError, ImportError):
    """The solver's package is not installed."""


class BackendLimitError(BackendError):
    """The model is larger than the solver's licence allows."""


class BackendAbilityError(BackendError):
    """The solver cannot solve models of this kind; the message names those that can."""


class BackendCrashError(BackendError):
    """The solver's process died, hung past its limit, or answered something unreadable."""
