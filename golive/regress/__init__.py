"""The candidate beside the running incumbent, turn by turn; and what can be said of a difference."""
