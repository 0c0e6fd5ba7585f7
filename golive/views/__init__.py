"""What people see of a run: the terminal while it goes on, the report afterwards. Reads the journal; changes nothing."""
