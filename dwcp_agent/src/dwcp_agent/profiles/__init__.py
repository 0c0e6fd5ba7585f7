"""How a transfer is set up for its path and its size (ITP): three profiles, and which of them when."""
