"""``dwcp send SOURCE https://HOST:PORT/NAME``: a file, a block device or a directory of files, through a gateway or straight to an agent.

Run again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from typing import TYPE_CHECKING

from dwcp_agent import features
from dwcp_agent.commands.http import Endpoint, parse_url, tls_of
from dwcp_agent.commands.item import Item, Terms, profile_of, token_of
from dwcp_agent.commands.session import Session
from dwcp_agent.encoding.rounding import RoundedSource, Rounding
from dwcp_agent.errors import BadInput, Refused
from dwcp_agent.sessions.ticket import check_session_id
from dwcp_agent.store.names import parts_of
from dwcp_agent.transport.device import DeviceSource
from dwcp_agent.transport.source import open_source

if TYPE_CHECKING:
    from dwcp_agent.transport.tally import Tally

__all__ = ["send"]

_MOST_SESSIONS = 32


def send(arguments: argparse.Namespace) -> None:
    """Sends what there is, and prints what the receiver verified and committed; with ``--dry-run`` only what would be sent."""
    features.configure()
    endpoint = parse_url(arguments.url)
    if arguments.session:
        try:
            check_session_id(arguments.session)
        except Refused as error:
            raise BadInput(error.message.replace("X-DWCP-Session", "--session")) from None
    if arguments.streams is not None and not 1 <= arguments.streams <= 64:
        raise BadInput("--streams must be between 1 and 64.")
    profile_of(arguments)
    _rounding_of(arguments)
    if arguments.sessions is not None and not 1 <= arguments.sessions <= _MOST_SESSIONS:
        raise BadInput(f"--sessions must be between 1 and {_MOST_SESSIONS}.")
    try:
        directory = arguments.source.is_dir()
    except OSError as error:
        raise BadInput(f"{arguments.source} cannot be read: {error.strerror or error}.") from None
    if directory:
        if _rounding_of(arguments) is not None:
            raise BadInput(f"--numeric is for one file of numbers, and {arguments.source} is a directory.")
        from dwcp_agent.commands.tree import send_tree

        send_tree(arguments, endpoint)
    else:
        _send_one(arguments, endpoint)


def _rounding_of(arguments: argparse.Namespace) -> Rounding | None:
    """How the numbers of the source are to be rounded; None when nobody asked. Raises BadInput."""
    absolute, relative = arguments.error, arguments.relative_error
    if arguments.numeric is None:
        if absolute is None and relative is None:
            return None
        raise BadInput("--error and --relative-error need --numeric, which says what the numbers are.")
    if (absolute is None) == (relative is None):
        raise BadInput("--numeric needs either --error or --relative-error, which says how far a value may be off.")
    return Rounding(arguments.numeric, absolute if relative is None else relative, relative is not None)


def _send_one(arguments: argparse.Namespace, endpoint: Endpoint) -> None:
    parts_of(endpoint.path)
    context = tls_of(arguments.ca, arguments.cert, arguments.key)
    with contextlib.ExitStack() as opened:
        source = opened.enter_context(contextlib.closing(open_source(arguments.source, quiescent=arguments.quiescent)))
        # A baseline that changes meanwhile makes a transfer fail at its end; it cannot make it wrong.
        old = opened.enter_context(contextlib.closing(open_source(arguments.baseline, quiescent=True))) if arguments.baseline else None
        rounding = _rounding_of(arguments)
        if rounding is not None:
            if isinstance(source, DeviceSource):
                raise BadInput(f"--numeric is for files of numbers, and {arguments.source} is a device.")
            source = RoundedSource(source, rounding)
            # What the receiver has of it are rounded numbers; what is no array of them cannot be what it has.
            old = RoundedSource(old, rounding) if old is not None and old.size % rounding.item == 0 else None
        item = Item(arguments.source, endpoint.path, source, arguments.baseline if old is not None else None, old, rounding)
        token = token_of(item, endpoint)
        session = opened.enter_context(contextlib.closing(Session(endpoint, context, arguments.session or f"send-{token[:16]}")))
        if arguments.dry_run:
            from dwcp_agent.commands import preview

            found = preview.preview(session, item)
            print(json.dumps(found) if arguments.json else preview.in_words(found))
            return
        began = time.monotonic()
        session.begin(item.name, token)
        # What a transfer takes is loaded while the agent answers.
        from dwcp_agent.commands import report
        from dwcp_agent.commands.delivery import deliver
        from dwcp_agent.commands.progress import Line

        line = Line(not arguments.json)
        opened.callback(line.clear)

        def tell(done: int, size: int, tally: Tally) -> None:
            line.show(done, size, tally.wire_bytes)

        terms = Terms(arguments.streams, arguments.limit, arguments.patience, profile_of(arguments), arguments.weight, arguments.plain)
        sent = deliver(session, item, token, terms, tell, began=began)
    print(json.dumps(sent) if arguments.json else report.in_words(sent))
