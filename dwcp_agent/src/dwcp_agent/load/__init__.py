"""The open-loop load client: offers requests when they are due, whatever became of those before, and counts every one."""
