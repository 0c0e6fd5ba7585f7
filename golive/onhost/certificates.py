"""Verb that says which certificates lie on this host, and whether each has its own key: a change that was cut off shows here."""

from __future__ import annotations

import hashlib
from typing import Any

from golive.onhost.command import Call, verb

__all__: list[str] = []


@verb("certificates", help="digests of the certificates here, and whether their keys fit", changes=False)
def _certificates(call: Call) -> dict[str, Any]:
    import ssl

    found: dict[str, Any] = {}
    directory = call.places.tls
    for path in sorted([*directory.glob("*.crt"), *directory.glob("*.pem")]):
        try:
            text = path.read_text(encoding="ascii")
            begin, end = text.index(ssl.PEM_HEADER), text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)
            digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(text[begin:end] + "\n")).hexdigest()
        except (OSError, ValueError) as error:
            found[path.name] = {"sha256": None, "fits": False, "problem": f"{type(error).__name__}: {error}"}
            continue
        fits = True
        if path.name != "ca.crt":
            key = path if path.suffix == ".pem" else path.with_suffix(".key")
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, key)
            except (OSError, ValueError):
                fits = False
        found[path.name] = {"sha256": digest, "fits": fits}
    return {"certificates": found}
