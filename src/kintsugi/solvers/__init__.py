"""How the conditional ODE is integrated; one file a solver."""

from .base import Solver
from .first_order import FirstOrder
from .multistep import Multistep
from .tempered import Tempered

__all__ = ["FirstOrder", "Multistep", "Solver", "Tempered"]
