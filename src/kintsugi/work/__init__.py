"""Work that many processes and machines divide between them, and that goes on where it was.

The work is a list of items, each with a pure function of it: a row of a benchmark, a picture of a folder. A finished
item is a file, so what is there is never done again, whoever did it. There are two ways to divide the rest:

- processes of the same command (:mod:`.local`) on a folder that they share. Each goes through all items and claims one
  at a time by a lock (:mod:`.claims`), which the system lets go of when the process dies.
- Ray (:mod:`.on_ray`). One driver claims items, sends them to workers in units of about the same cost
  (:mod:`.units`), and writes the files itself, so nothing but the driver needs the folder.
"""

from .claims import Claims
from .local import launched, run_processes, worker_device
from .on_ray import Cluster, Job, run_on_ray
from .units import Unit, make_units, target_cost

__all__ = [
    "Claims",
    "Cluster",
    "Job",
    "Unit",
    "launched",
    "make_units",
    "run_on_ray",
    "run_processes",
    "target_cost",
    "worker_device",
]
