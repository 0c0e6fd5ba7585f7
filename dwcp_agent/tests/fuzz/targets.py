"""Everything in the agent that reads bytes from elsewhere, as functions of bytes that fail when a promise is broken.

A target returns when its invariant (its docstring) holds and raises otherwise: an AssertionError of its own, or whatever the agent let out
that it should not. It is the same for the same bytes, leaves nothing behind, and needs no fuzzer: ``test_corpus.py`` calls it, too.

To add one: write the function into one of the modules beside this, name it here, put a few inputs into ``corpus/<name>``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fuzz import conversations, disk, frames, kernels, text

__all__ = ["TARGETS", "Target"]

_JSON = ("{", "}", "[", "]", ":", ",", '"', "[[", "]]", "true", "false", "null", "Infinity", "NaN", "1e999", "-1", "\\ud800", "0.5")
_CONVERSATION = (
    *_JSON,
    *('"ticket":"@ticket"', '"token":"00000000000000000000000000000000"', '"name":"a"', '"name":"base"', '"size":65536', '"chunk":65536'),
    *(
        '"protocol":2',
        '"baseline":"@old"',
        '"id":"@id"',
        '"id":"@old"',
        '"sha256":"',
        '"have":[[0,1]]',
        '"done":',
        '"bytes":',
        '"frames":1',
    ),
    *('"fin":true', '"error":"parked"', '"message":', '"status":503'),
)
_HTTP = (
    *("HTTP/1.1 ", "200 OK", "201 Created", "404 Not Found", "421 ", "\r\n", "\r\n\r\n", "Content-Length: ", "Transfer-Encoding: chunked"),
    *("X-DWCP-Size: ", "X-DWCP-Manifest: ", "Connection: close", '"control":{"port":7410}', '"ticket":"t"', '"protocol":2'),
    *('"data":{"host":"127.0.0.1","port":7401}', '"error":"busy"', '"message":"m"'),
)
_YAML = (
    *("!!timestamp ", "!!int ", "!!float ", "!!bool ", "!!binary ", "!!set ", "!!omap ", "!!python/name:", "&a ", "*a", "<<: ", "? ", "- "),
    *(
        "0x",
        "0b",
        "1:59",
        "2024-13-45",
        ".inf",
        "[",
        "{",
        "tls: {ca: @file, cert: @file, key: @file}",
        "limits: {",
        "features: {disable: [",
    ),
    *("schema: 1", "host: h", "site: s", "listen: 127.0.0.1", "store: /s", "cpus: {net: ", "gateway: https://g:1", "rate_per_s: 1"),
)


@dataclass(frozen=True)
class Target:
    """``run`` is given inputs of up to ``most`` bytes, in which ``tokens`` are worth trying."""

    run: Callable[[bytes], None]
    most: int
    tokens: tuple[str, ...] = ()


TARGETS: dict[str, Target] = {
    "header": Target(frames.header, 256, ("DWCF", "\x01")),
    "control_json": Target(frames.control_json, 9000, _JSON),
    "chunk": Target(frames.chunk, 4096, ("(\xb5/\xfd",)),
    "entries": Target(frames.entries, 4096),
    "patch": Target(frames.patch, 4096, ("(\xb5/\xfd",)),
    "trained": Target(frames.trained, 4096, ("(\xb5/\xfd", "7\xa40\xec")),
    "parts": Target(frames.parts, 4096, ("(\xb5/\xfd",)),
    "receiver": Target(conversations.receiver, 4096, _CONVERSATION),
    "sender": Target(conversations.sender, 4096, _CONVERSATION),
    "manifest": Target(disk.manifest, 8192, (*_JSON, "@size", "@mtime", "@ctime", "@inode", "@id", "@hashes", '"size":@size', "\n")),
    "journal": Target(disk.journal, 2048, ("@name", "@size", '{"name": @name, "size": @size}\n')),
    "admission": Target(disk.admission, 8192, (*_JSON, '"weights":', '"slots":', '"slot_b":', '"slot_a":', '"out"')),
    "release": Target(disk.release, 8192, (*_JSON, '"version":', '"@version"')),
    "ticket": Target(text.ticket, 4096),
    "identity": Target(text.identity, 1024, ("OU=", ",CN=", "load", "gateway")),
    "name": Target(text.name, 2048, ("/", "..", "\x7f")),
    "url": Target(text.url, 1024, ("https://", "[::1]", ":7400", "@", "?", "#", "%00", "%2f", "xn--", "..", "\t")),
    "answer": Target(text.answer, 4096, (*_JSON, *_HTTP)),
    "config": Target(text.config, 1024, _YAML),
    "cpu_list": Target(text.cpu_list, 64, ("0-3", ",", "-")),
    "kernels": Target(kernels.kernels, 4096),
}
