"""The product measured against its own bars: each component alone, parts together, and the whole from end to end."""
