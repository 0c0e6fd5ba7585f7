"""The control port (HTTP over mutual TLS) and the plain health port."""
