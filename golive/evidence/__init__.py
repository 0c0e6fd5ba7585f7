"""What is known of a release, by whom, since when: statements, the checklist, and the decision."""
