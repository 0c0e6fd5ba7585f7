"""What the agent and the load client measure about themselves."""
