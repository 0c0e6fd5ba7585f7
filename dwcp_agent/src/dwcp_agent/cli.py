"""``dwcp``: arguments in, exit code out. No traceback without ``--debug``."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dwcp_agent import _build
from dwcp_agent.errors import AgentError, BadInput

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message[:1].upper()}{message[1:]}; see {self.prog} --help.")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    debug = "--debug" in (sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser().parse_args(argv)
        arguments.run(arguments)
        return 0
    except AgentError as error:
        if debug:
            raise
        print(error.message, file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            raise
        print(f"A bug in dwcp {_build.VERSION}: {type(error).__name__}: {error} (--debug shows where).", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="dwcp", description="Moves content between hosts over mutual TLS, verified end to end.")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    for name, run, text in (("serve", _serve, "run the agent"), ("load", _load, "run the open-loop load client")):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("--config", type=Path, required=True)
        verb.add_argument("--release-dir", type=Path, help="directory of the installed release; without one the release is called dev")
        verb.set_defaults(run=run)

    send = verbs.add_parser("send", help="send a file, a block device or every file of a directory")
    _send_arguments(send)
    send.set_defaults(run=_send)

    recv = verbs.add_parser("recv", help="on the receiving host: verify what is stored")
    recv.add_argument("--verify", nargs="+", required=True, metavar="NAME", help="read this content and compare it with what was committed")
    recv.add_argument("--owner", metavar="OU.CN", help="whose it is, as the store's directory is called; needed when several have the name")
    recv.add_argument("--id", metavar="HEX", help="what it has to be, from the report of its transfer")
    recv.add_argument("--config", type=Path, default=Path("/etc/dwcp/agent.yaml"), help="the agent's configuration, for its store")
    recv.add_argument("--json", action="store_true")
    recv.set_defaults(run=_recv)

    explain = verbs.add_parser("explain", help="what was decided in a transfer from here, and why")
    explain.add_argument("transfer", nargs="?", metavar="TRANSFER", help="the beginning of its token, or last; without it all are listed")
    explain.add_argument("--json", action="store_true")
    explain.set_defaults(run=_explain)

    put = verbs.add_parser("put", help="put small state, one JSON object a line")
    put.add_argument("url", help="https://HOST:PORT")
    put.add_argument(
        "--from", dest="source", required=True, metavar="FILE", help='lines like {"key": ..., "value": ...}; - is standard input'
    )
    put.add_argument("--session", help="session id; a gateway picks the release by it")
    put.add_argument(
        "--rate",
        type=float,
        metavar="N",
        help="so many a second from when the agent takes them, however fast it answers; latency counts from when each was due",
    )
    put.add_argument("--patience", type=float, default=60.0, metavar="S", help="give up when nothing was acknowledged for so long")
    put.set_defaults(run=_put)

    status = verbs.add_parser("status", help="which release answers, and what it does")
    status.add_argument("url", help="https://HOST:PORT")
    status.set_defaults(run=_status)
    for verb in (send, put, status):
        for name in ("--ca", "--cert", "--key"):
            verb.add_argument(name, type=Path, required=True)
        verb.add_argument("--json", action="store_true")

    verbs.add_parser("features", help="optimisations and the path of every kernel, as JSON").set_defaults(run=_features)
    verbs.add_parser("version", help="version of this build").set_defaults(run=lambda _: print(_build.VERSION))
    schema = verbs.add_parser("schema", help="JSON Schema of a configuration file")
    schema.add_argument("kind", choices=("agent", "load"), nargs="?", default="agent")
    schema.set_defaults(run=_schema)
    return parser


def _send_arguments(send: argparse.ArgumentParser) -> None:
    send.add_argument("source", type=Path, metavar="SOURCE", help="file, block device or directory")
    send.add_argument("url", help="https://HOST:PORT/NAME")
    send.add_argument("--session", metavar="ID", help="session id; a gateway picks the release by it")
    send.add_argument("--streams", type=int, metavar="N", help="connections for each file; as many as the path is worth when not given")
    send.add_argument("--profile", metavar="NAME", help="low-latency, balanced or high-throughput; by the path when not given")
    send.add_argument("--sessions", type=int, metavar="N", help="how many files of a directory at once; by the load when not given")
    send.add_argument("--baseline", type=Path, metavar="SOURCE", help="what the receiver has of it now, on this side: less is sent then")
    send.add_argument(
        "--patience", type=float, default=60.0, metavar="S", help="give up when nothing moved for so long; run it again to go on"
    )
    send.add_argument("--limit", type=_rate, metavar="RATE", help="use no more of the link than this, as in 50mbit")
    send.add_argument(
        "--weight",
        type=_weight,
        default=1.0,
        metavar="W",
        help="twice the weight of another transfer from here to the same host is twice its share of the link; 1 when not given",
    )
    send.add_argument("--numeric", metavar="TYPE", help="the file is an array of float32 or float64, little-endian: round it (lossy)")
    send.add_argument("--error", type=float, metavar="E", help="with --numeric: what a value may be off at most")
    send.add_argument("--relative-error", type=float, metavar="E", help="with --numeric: the same, as a share of the value, as in 0.001")
    send.add_argument(
        "--plain", action="store_true", help="content without TLS where the receiver offers it: for a link that is encrypted itself"
    )
    send.add_argument("--quiescent", action="store_true", help="nobody writes to the device: send it although it is in use here")
    send.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")


def _rate(text: str) -> int:
    """Bytes a second of ``50mbit``, ``1.5gbit`` or ``800kbit``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(kbit|mbit|gbit)", text.strip().lower())
    rate = round(float(match[1]) * {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}[match[2]] / 8) if match else 0
    if rate <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate like 800kbit, 50mbit or 1.5gbit")
    return rate


def _weight(text: str) -> float:
    """A number from 0.01 to 100."""
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0.01 <= weight <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0.01 to 100")
    return weight


def _serve(arguments: argparse.Namespace) -> None:
    from dwcp_agent import log, release, service
    from dwcp_agent.config import AgentConfig, load_config

    config = load_config(arguments.config, AgentConfig)
    log.setup()
    service.run(config, os.environ.get("DWCP_SLOT", "a"), release.of_directory(arguments.release_dir), _build.DEFECT)


def _load(arguments: argparse.Namespace) -> None:
    from dwcp_agent import log, release
    from dwcp_agent.config import LoadConfig, load_config
    from dwcp_agent.load import service

    config = load_config(arguments.config, LoadConfig)
    log.setup()
    service.run(config, release.of_directory(arguments.release_dir))


def _send(arguments: argparse.Namespace) -> None:
    from dwcp_agent.commands.send import send

    send(arguments)


def _recv(arguments: argparse.Namespace) -> None:
    from dwcp_agent.commands.verify import verify

    verify(arguments)


def _explain(arguments: argparse.Namespace) -> None:
    from dwcp_agent.commands.explain import explain

    explain(arguments)


def _put(arguments: argparse.Namespace) -> None:
    from dwcp_agent.commands.put import put

    put(arguments)


def _status(arguments: argparse.Namespace) -> None:
    from dwcp_agent.commands.status import status

    status(arguments)


def _features(arguments: argparse.Namespace) -> None:
    from dwcp_agent import features

    features.configure()
    print(json.dumps(features.report(), indent=2))


def _schema(arguments: argparse.Namespace) -> None:
    from dwcp_agent.config import AgentConfig, LoadConfig

    kind = AgentConfig if arguments.kind == "agent" else LoadConfig
    print(json.dumps(kind.model_json_schema(by_alias=True), indent=2))
