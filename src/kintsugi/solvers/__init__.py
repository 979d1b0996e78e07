"""How the conditional ODE is integrated; one file a solver."""

from .base import Solver
from .first_order import FirstOrder
from .multistep import Multistep

__all__ = ["FirstOrder", "Multistep", "Solver"]
