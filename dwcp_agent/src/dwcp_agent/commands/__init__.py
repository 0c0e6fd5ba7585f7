"""One command of ``dwcp`` a file."""
