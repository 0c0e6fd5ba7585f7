"""One message by Apprise, in bounded time, without its address getting anywhere."""

from __future__ import annotations

import logging
import threading

from golive.notify.routes import Severity

__all__ = ["post"]

_LONGEST_S = 20.0
_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}


def post(address: str, title: str, text: str, severity: Severity, *, longest_s: float = _LONGEST_S) -> str:
    """Sends one message; empty when the service took it, else why not. Never raises, and never says the address."""
    said: list[str] = []

    def send() -> None:
        said.append(_sent(address, title, text, severity))

    # daemon: a service that never answers keeps neither the run nor the process
    thread = threading.Thread(target=send, name="notice", daemon=True)
    thread.start()
    thread.join(longest_s)
    return said[0] if said else f"no answer within {longest_s:g} s"


def _sent(address: str, title: str, text: str, severity: Severity) -> str:
    try:
        import apprise

        # Apprise logs addresses with what it could not do.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        # The service itself, not Apprise's desk of many: that one sends from a pool of threads, which a forked process does not have.
        service = apprise.Apprise.instantiate(address, asset=apprise.AppriseAsset(async_mode=False, secure_logging=True))
        if service is None:
            return "its address is none that Apprise knows"
        taken = service.notify(body=text, title=title, notify_type=_TYPES[severity], body_format="text")
    except Exception as error:
        return f"{type(error).__name__} while sending"  # the error's own words may hold the address
    return "" if taken else "the service did not take it"
