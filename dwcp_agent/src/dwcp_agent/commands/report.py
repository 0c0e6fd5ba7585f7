"""Reports of transfers, in words."""

from __future__ import annotations

from typing import Any

__all__ = ["in_words"]


def in_words(report: dict[str, Any]) -> str:
    """What was sent, how, and what the receiver verified; several lines."""
    rate = report["bytes_per_s"] / 1e6
    ratio = f"ratio {report['ratio']:.2f}" if report["ratio"] else "nothing had to be sent"
    seconds = f"{report['seconds']:.3f} s ({rate:.1f} MB/s)"
    lines = [f"{report['name']}: {report['bytes']} bytes in {seconds}, {ratio}, {report['streams']} streams"]
    if report.get("resumed_bytes"):
        lines.append(f"{report['resumed_bytes']} bytes were there from an earlier run")
    if report.get("same_bytes"):
        lines.append(f"{report['same_bytes']} bytes are as in the version that was there")
    if report.get("data_tls") is False:
        lines.append("content went without TLS, as both sides want it")
    if report.get("source_stable") is False:
        lines.append("whether anybody wrote to the source meanwhile is not known: its writes are not counted")
    if report.get("rounded"):
        numeric, kind, error = report["rounded"].split()
        lines.append(
            f"not the original: its {numeric} numbers are rounded, {kind} error at most {error}; the id is that of what was delivered"
        )
    lines.append(f"taken by release {report['release']}")
    hashed = f"sha256 {report['sha256']}" if "sha256" in report else f"id {report['id']}"
    return "\n".join([*lines, f"{hashed} verified by the receiver"])
