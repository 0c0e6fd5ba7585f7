"""What a transfer would send, without sending it: ``--dry-run``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from blake3 import blake3

from dwcp_agent.commands.baseline import choose_baseline
from dwcp_agent.commands.item import Item, is_stable
from dwcp_agent.commands.session import Session
from dwcp_agent.encoding.manifest import BLOCK, block_count, manifest_of
from dwcp_agent.errors import Failed

__all__ = ["in_words", "preview"]

_READERS = 2


def preview(session: Session, item: Item) -> dict[str, Any]:
    """How much of the item the receiver has, how much is zeros, and how much would have to be sent, before compression.

    Only the receiver's manifest is asked for. What an earlier run left there unfinished is not known that way and counts as to be sent.
    Raises Refused, Unreachable, Failed.
    """
    chosen = choose_baseline(session, item.name, item.baseline_path, item.baseline)
    known = chosen.baseline.manifest if chosen.baseline is not None else None
    source = item.source
    try:
        with ThreadPoolExecutor(_READERS) as readers:
            manifest = manifest_of(source, readers)
    except OSError as error:
        raise Failed(f"{item.path} cannot be read any more: {error.strerror or error}.") from None
    if source.changed():
        raise Failed(f"{item.path} was changed while it was read; look again when it rests.")
    count = block_count(source.size)
    zeros = blake3(bytes(BLOCK)).digest()  # a last, shorter block of zeros is sent as content is
    blocks, byte_counts = dict.fromkeys(("same", "zero", "send"), 0), dict.fromkeys(("same", "zero", "send"), 0)
    for index in range(count):
        length = min(BLOCK, source.size - index * BLOCK)
        ours = manifest.block(index)
        kind = "same" if known is not None and known.block(index) == ours else "zero" if ours == zeros else "send"
        blocks[kind] += 1
        byte_counts[kind] += length
    return {
        "schema": 1,
        "dry_run": True,
        "name": item.name,
        "session": session.id,
        "baseline": chosen.told,
        "bytes": source.size,
        "blocks": count,
        **{f"{kind}_blocks": number for kind, number in blocks.items()},
        **{f"{kind}_bytes": number for kind, number in byte_counts.items()},
        "identical": known is not None and known.id == manifest.id,
        "id": manifest.id,
        "source": source.path_name,
        "source_stable": is_stable(source),
    }


def in_words(found: dict[str, Any]) -> str:
    """The same as two lines."""
    told = {"none": "the receiver has nothing under this name", "receiver": "the receiver has a version"}
    before = told.get(found["baseline"], "the receiver has the version that is on this side too")
    if found["identical"]:
        return f"{found['name']}: nothing would be sent, since the receiver has these {found['bytes']} bytes"
    return (
        f"{found['name']}: {found['send_bytes']} of {found['bytes']} bytes would be sent, before compression\n"
        f"{before}; of {found['blocks']} blocks {found['same_blocks']} are the same, {found['zero_blocks']} are zeros, "
        f"{found['send_blocks']} would be sent"
    )
