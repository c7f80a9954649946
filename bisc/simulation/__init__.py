"""Simulated CT of kidneys and kidney tumours: data to try the pipeline on where none may be shared."""

from bisc.simulation.case import simulate_around, simulate_case
from bisc.simulation.dataset import SimulationJob, SimulationSpec, simulate_dataset
from bisc.simulation.phases import Variety

__all__ = ["SimulationJob", "SimulationSpec", "Variety", "simulate_around", "simulate_case", "simulate_dataset"]
