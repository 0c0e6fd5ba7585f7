"""The embedded default: hosts, networks and keys that the toolkit makes on the operator's own machine."""
