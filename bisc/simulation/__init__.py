"""Simulated CT of kidneys and kidney tumours: data to try the pipeline on where none may be shared."""

from bisc.simulation.case import simulate_around, simulate_case
from bisc.simulation.dataset import SimulationJob, SimulationSpec, simulate_dataset

__all__ = ["SimulationJob", "SimulationSpec", "simulate_around", "simulate_case", "simulate_dataset"]
