"""One transfer of a command: from an open source to a name at the receiver, with a report and a record."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from dwcp_agent.commands.baseline import choose_baseline
from dwcp_agent.commands.item import Item, Terms, is_stable
from dwcp_agent.commands.ledger import ledger_directory
from dwcp_agent.commands.records import Record, recorded
from dwcp_agent.commands.session import KeptLink, Session
from dwcp_agent.congestion.kernel import LONG_PATH_US
from dwcp_agent.errors import Failed, Refused
from dwcp_agent.profiles.table import BALANCED
from dwcp_agent.telemetry.decisions import DecisionLog
from dwcp_agent.transport.frame import ROUNDED
from dwcp_agent.transport.outbound import Outbound
from dwcp_agent.transport.sender import Sending
from dwcp_agent.transport.tally import Progress, Tally

__all__ = ["deliver"]

_STREAM_BYTES = 4 << 20
_FIRST_STREAMS = BALANCED.first_streams
_TALLIED = (
    "wire_bytes",
    "sent_bytes",
    "same_bytes",
    "zero_bytes",
    "resumed_bytes",
    "again_bytes",
    "streams",
    "broken_streams",
    "data_tls",
    "congestion",
    "level",
    "levels",
    "id",
)


def deliver(
    session: Session, item: Item, token: str, terms: Terms, tell: Progress | None = None, *, began: float | None = None
) -> dict[str, Any]:
    """Opens the session, sends the item, and returns the report of what the receiver verified and committed; leaves a record.

    ``began`` is when the session was begun with, by ``time.monotonic``, if that was before. Raises Refused, Unreachable, Corrupt, Failed.
    """
    record = Record(token, str(item.path), f"{session.asked}/{quote(item.name)}", bytes=item.source.size)
    started = time.monotonic() if began is None else began
    with recorded(record):
        session.open(item.name, token)
        spoken = f"the highest that this sender and release {session.release} speak"
        record.decided("protocol", "version", session.protocol, spoken, record.now_s())
        if item.rounding is not None:
            if session.answer.get("rounded") != ROUNDED:
                what = f"{session.asked} runs release {session.release}, which would not note that the content is rounded"
                raise Refused(f"{what}; nothing was sent.", code="no-rounding")
            record.decided("rounding", "numbers", item.rounding.mark, "--numeric asked for it", record.now_s())
        try:
            by = (
                _by_protocol_2(session, item, token, terms, record, tell) if session.protocol >= 2 else _by_protocol_1(session, item, terms)
            )
        except Failed as error:
            if session.kept_link is not None:
                session.kept_link.end()  # what its streams are in the middle of is not known
            if item.source.changed():
                message = f"{item.path} was changed while it was sent, so nothing was committed; send it again when it rests."
                raise Failed(message) from error
            raise
        seconds = time.monotonic() - started
        ratio = by["bytes"] / by["wire_bytes"] if by["wire_bytes"] else None
        report = {
            "schema": 2,
            "name": item.name,
            "session": session.id,
            "release": session.release,
            **by,
            "seconds": round(seconds, 6),
            "bytes_per_s": round(by["bytes"] / seconds),
            "ratio": round(ratio, 4) if ratio else None,
            "source": item.source.path_name,
            "source_stable": is_stable(item.source),
            "verified": True,
        }
        if item.rounding is not None:
            report["rounded"] = item.rounding.mark
        record.ended(report, None)
        return report


def _by_protocol_1(session: Session, item: Item, terms: Terms) -> dict[str, Any]:
    sent = Sending(session.link(), session.ticket(), item.name, item.source, streams=terms.streams or _FIRST_STREAMS).run()
    return {"protocol": 1, "bytes": sent.bytes, "wire_bytes": sent.wire_bytes, "streams": sent.streams, "sha256": sent.sha256}


def _by_protocol_2(session: Session, item: Item, token: str, terms: Terms, record: Record, tell: Progress | None) -> dict[str, Any]:
    link = session.link()
    first = iter([(link, session.ticket())])
    link.warm(1)
    chosen = choose_baseline(session, item.name, item.baseline_path, item.baseline)
    enough = max(1, item.source.size // _STREAM_BYTES)
    streams = min(terms.streams, enough) if terms.streams is not None else 1 if enough == 1 else None
    if chosen.baseline is None and not terms.plain:
        link.warm(min(terms.streams or _FIRST_STREAMS, enough))  # all of them have something to do
    record.decided("baseline", "baseline", chosen.told, chosen.why, record.now_s())

    def told(done: int, size: int, tally: Tally) -> None:
        record.reached(done, size, tally)
        if tell is not None:
            tell(done, size, tally)

    log = DecisionLog()
    try:
        tally = Outbound(
            lambda: next(first, None) or session.connect(),
            item.name,
            item.source,
            token=token,
            baseline=chosen.baseline,
            streams=streams,
            limit_bytes_per_s=terms.limit_bytes_per_s,
            patience_s=terms.patience_s,
            progress=told,
            log=log,
            profile=terms.profile,
            window_log=session.window_log,
            early=session.is_fresh(item.name),
            ledger=ledger_directory(),
            weight=terms.weight,
            rounded=item.rounding.mark if item.rounding is not None else None,
            plain=terms.plain,
        ).run()
    finally:
        _explain_congestion(session.kept_link, record)
        for decision in log.decisions():
            record.decided(decision.policy, decision.what, decision.value, decision.why, record.at_s(decision.at_s))
    if terms.streams is not None or enough == 1:
        record.decided("streams", "streams", tally.streams, _why_streams(terms.streams or 1, tally.streams), None)
    if terms.plain:
        why = "the receiver offers nothing else to this host" if tally.data_tls else "asked for here and offered by the receiver"
        record.decided("protocol", "TLS on data streams", "yes" if tally.data_tls else "no", why, None)
    return {"protocol": 2, "bytes": tally.size, "baseline": chosen.told, **{name: getattr(tally, name) for name in _TALLIED}}


def _explain_congestion(link: KeptLink | None, record: Record) -> None:
    if link is None or link.made_at is None:
        return
    mark = f"BBR is asked for from a round trip of {LONG_PATH_US / 1e3:g} ms on"
    if link.round_trip_us is None:
        why = mark
    elif link.round_trip_us < LONG_PATH_US:
        why = f"the path's round trip is {link.round_trip_us / 1e3:.2f} ms, so this host's default stays; {mark}"
    else:
        allowed = "" if link.congestion == "bbr" else "; the kernel does not allow it"
        why = f"the path's round trip is {link.round_trip_us / 1e3:.2f} ms, and {mark}{allowed}"
    record.decided("congestion", "congestion control", link.congestion, why, record.at_s(link.made_at))


def _why_streams(asked: int, used: int) -> str:
    if not used:
        return f"nothing had to be sent; {asked} were asked for"
    return f"{asked} were asked for" + ("" if used == asked else f"; less than {_STREAM_BYTES >> 20} MiB are not worth one of their own")
