"""Who is on the other side, and what they may do."""
