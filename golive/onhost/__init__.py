"""``dwcp-host``: what the toolkit runs on a host. Standard library only, Python 3.9 or newer, shipped as one zipapp.

Everything that changes a host goes through here, under one lock and a fencing token (`fence`). A module adds verbs with
the decorator `golive.onhost.command.verb`, and stands in the table `golive.onhost.main.MODULES`.
"""
