"""The operator's verbs as invoke's tasks: parse, call ``golive.verbs``, end. One file a subject; tasks.py puts them together."""
