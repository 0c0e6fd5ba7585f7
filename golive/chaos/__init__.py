"""Faults from a seed, struck at a run that goes on in a process of its own, and what has to be true afterwards."""
