"""``python benchmarks/file_server.py ADDRESS PORT DIRECTORY``: a web server of files, for peers that fetch."""

from __future__ import annotations

import sys

from aiohttp import web

if __name__ == "__main__":
    app = web.Application()
    app.router.add_static("/", sys.argv[3])
    web.run_app(app, host=sys.argv[1], port=int(sys.argv[2]), print=lambda *_: None, access_log=None)
