"""Samples in, verdict out.

``spec`` what a runbook's gate says · ``judge`` the verdict on a ``window`` · ``collect`` gathers windows through the ports of ``metrics``, whose
adapters are in ``adapters`` · ``binomial``, ``sequential``, ``shift`` the statistics · ``simulate`` how good they are.

Nothing is imported here: reading a runbook must not wait for numerics.
"""
