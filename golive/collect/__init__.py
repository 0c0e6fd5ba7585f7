"""What makes evidence that takes seconds or minutes: tests, checks on hosts, questions to Prometheus, runs in the journal, tools."""
