"""What the units of a network can output over a box of inputs: interval, linear (CROWN) and LP bounds."""

from bounds._bounds import Bounds, NetworkBounds
from bounds._model import Expression, MipModel, ModelBuilder

__all__ = ["Bounds", "Expression", "MipModel", "ModelBuilder", "NetworkBounds"]
