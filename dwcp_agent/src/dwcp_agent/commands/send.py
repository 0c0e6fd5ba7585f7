"""``dwcp send SOURCE https://HOST:PORT/NAME``: a file, a block device or a directory of files, through a gateway or straight to an agent.

Run again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import json

from dwcp_agent import features
from dwcp_agent.commands import report
from dwcp_agent.commands.delivery import Item, Terms, deliver, profile_of, token_of
from dwcp_agent.commands.http import Endpoint, parse_url, tls_of
from dwcp_agent.commands.progress import Line
from dwcp_agent.commands.session import Session
from dwcp_agent.errors import BadInput, Refused
from dwcp_agent.sessions.ticket import check_session_id
from dwcp_agent.store.names import parts_of
from dwcp_agent.transport.source import open_source

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
    if arguments.sessions is not None and not 1 <= arguments.sessions <= _MOST_SESSIONS:
        raise BadInput(f"--sessions must be between 1 and {_MOST_SESSIONS}.")
    try:
        directory = arguments.source.is_dir()
    except OSError as error:
        raise BadInput(f"{arguments.source} cannot be read: {error.strerror or error}.") from None
    if directory:
        from dwcp_agent.commands.tree import send_tree

        send_tree(arguments, endpoint)
    else:
        _send_one(arguments, endpoint)


def _send_one(arguments: argparse.Namespace, endpoint: Endpoint) -> None:
    parts_of(endpoint.path)
    context = tls_of(arguments.ca, arguments.cert, arguments.key)
    with contextlib.ExitStack() as opened:
        source = opened.enter_context(contextlib.closing(open_source(arguments.source, quiescent=arguments.quiescent)))
        # A baseline that changes meanwhile makes a transfer fail at its end; it cannot make it wrong.
        old = opened.enter_context(contextlib.closing(open_source(arguments.baseline, quiescent=True))) if arguments.baseline else None
        item = Item(arguments.source, endpoint.path, source, arguments.baseline, old)
        token = token_of(item, endpoint)
        session = opened.enter_context(contextlib.closing(Session(endpoint, context, arguments.session or f"send-{token[:16]}")))
        if arguments.dry_run:
            from dwcp_agent.commands import preview

            found = preview.preview(session, item)
            print(json.dumps(found) if arguments.json else preview.in_words(found))
            return
        line = Line(not arguments.json)
        opened.callback(line.clear)
        terms = Terms(arguments.streams, arguments.limit, arguments.patience, profile_of(arguments), arguments.plain)
        sent = deliver(session, item, token, terms, lambda done, size, tally: line.show(done, size, tally.wire_bytes))
    print(json.dumps(sent) if arguments.json else report.in_words(sent))
