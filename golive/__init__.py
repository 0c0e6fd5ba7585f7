"""Takes a fleet agent from a signed release to 100 % of production traffic and, when anything is wrong, back."""

__version__ = "0.1.0"
