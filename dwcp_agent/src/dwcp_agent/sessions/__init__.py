"""Sessions: who may open data streams, until when."""
