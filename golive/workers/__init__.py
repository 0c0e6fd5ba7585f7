"""Waves as jobs: put on DBOS queues in PostgreSQL by the controller, taken by ``inv worker`` processes near the sites.

The journal alone decides what comes next: the controller enqueues one wave, waits for it, and journals what it was told. DBOS carries
jobs and nothing else. A job names run, step and wave; it looks at the hosts' traces before it changes anything and carries the fencing
token, so that a job that runs twice finds what it did, and one that comes late is refused by the hosts.
"""

from golive.workers.dispatch import JobLost, play_on_worker

__all__ = ["JobLost", "play_on_worker"]
