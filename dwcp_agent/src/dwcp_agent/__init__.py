"""The DWCP agent: takes, verifies and commits content over mutual TLS."""
