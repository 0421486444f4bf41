"""What scikit-learn expects of an estimator, without importing it: parameters, cloning, tags."""

from __future__ import annotations

import inspect
from typing import Any, Self


class Estimator:
    """Parameters are the arguments of `__init__`, kept unchanged as attributes of the same names.

    `sklearn.base.clone` gives an unfitted copy that shares the parameters: models and attacks are never written to, so
    they need not be copied.
    """

    _kind: str | None = None
    """scikit-learn's word for the kind of estimator."""

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name, and with `deep` those of parameters that are estimators, as NAME__PARAMETER."""
        found = {name: getattr(self, name) for name in self._names()}
        if deep:
            for name, value in list(found.items()):
                if isinstance(value, Estimator):
                    found |= {f"{name}__{inner}": held for inner, held in value.get_params().items()}
        return found

    def set_params(self, **parameters: Any) -> Self:
        """Sets parameters by name; raises ValueError, listing the known ones, for an unknown name."""
        for name, value in parameters.items():
            outer, _, inner = name.partition("__")
            if outer not in self._names():
                raise ValueError(
                    f"{type(self).__name__} has no parameter {outer!r}; it has {', '.join(self._names())}."
                )
            if inner:
                getattr(self, outer).set_params(**{inner: value})
            else:
                setattr(self, outer, value)
        return self

    def __repr__(self) -> str:
        words = ", ".join(f"{name}={value!r}" for name, value in self.get_params(deep=False).items())
        return f"{type(self).__name__}({words})"

    def __sklearn_clone__(self) -> Self:
        return type(self)(
            **{
                name: value.__sklearn_clone__() if isinstance(value, Estimator) else value
                for name, value in self.get_params(deep=False).items()
            }
        )

    def __sklearn_tags__(self) -> Any:
        from sklearn.base import BaseEstimator

        tags = BaseEstimator().__sklearn_tags__()
        tags.estimator_type = self._kind
        return tags
