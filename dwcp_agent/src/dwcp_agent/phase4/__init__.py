"""Optimisations that a build with ``DWCP_PHASE4=0`` leaves out: this package is then not in the wheel at all."""
