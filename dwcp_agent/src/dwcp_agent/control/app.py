"""Applications of the control and health ports: routes, who may use them, what every answer carries."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from dwcp_agent import log
from dwcp_agent.control.context import CALLER, CONTEXT, Context
from dwcp_agent.control.dictionaries import get_dictionary
from dwcp_agent.control.manifests import get_manifest, get_pages
from dwcp_agent.control.objects import get_object, put_object
from dwcp_agent.control.sessions import open_session
from dwcp_agent.control.state import health, metrics, ready, status
from dwcp_agent.control.values import delete_value, get_value
from dwcp_agent.errors import AgentError, BadInput, Corrupt, ProtocolError, Refused
from dwcp_agent.security.identity import CONTENT_ROLES, METRICS_ROLES, STATUS_ROLES, Identity, caller_of, from_certificate
from dwcp_agent.sessions.admission import Elsewhere

__all__ = ["MAX_BODY_BYTES", "control_app", "health_app"]

MAX_BODY_BYTES = 1 << 20

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class _Route:
    """An operation: its name in metrics, who may call it (None: any certificate of the CA), whether it is a client's own work."""

    op: str
    roles: frozenset[str] | None
    content: bool = False


_ROUTES: dict[tuple[str, str], tuple[_Route, Answer]] = {
    ("POST", "/v1/sessions"): (_Route("session", CONTENT_ROLES, content=True), open_session),
    ("PUT", "/v1/objects/{name:.+}"): (_Route("put", CONTENT_ROLES, content=True), put_object),
    ("GET", "/v1/objects/{name:.+}"): (_Route("get", CONTENT_ROLES, content=True), get_object),
    ("GET", "/v1/manifests/{name:.+}"): (_Route("manifest", CONTENT_ROLES, content=True), get_manifest),
    ("HEAD", "/v1/manifests/{name:.+}"): (_Route("manifest", CONTENT_ROLES, content=True), get_manifest),
    ("POST", "/v1/manifests/{name:.+}"): (_Route("pages", CONTENT_ROLES, content=True), get_pages),
    ("GET", "/v1/state/{key:.+}"): (_Route("state-get", CONTENT_ROLES, content=True), get_value),
    ("DELETE", "/v1/state/{key:.+}"): (_Route("state-delete", CONTENT_ROLES, content=True), delete_value),
    ("GET", "/v1/dictionaries/{id}"): (_Route("dictionary", CONTENT_ROLES, content=True), get_dictionary),
    ("GET", "/v1/status"): (_Route("status", STATUS_ROLES), status),
    ("GET", "/ready"): (_Route("ready", None), ready),
    ("GET", "/metrics"): (_Route("metrics", METRICS_ROLES), metrics),
}
_UNKNOWN = _Route("unknown", None)


def control_app(context: Context) -> web.Application:
    """The application of the control port."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_around])
    app[CONTEXT] = context
    routes: dict[Answer, _Route] = {}
    for (method, path), (route, answer) in _ROUTES.items():
        app.router.add_route(method, path, answer)
        routes[answer] = route
    app[_BY_ANSWER] = routes
    app.on_response_prepare.append(_name_release)
    return app


def health_app(context: Context) -> web.Application:
    """The application of the plain health port."""
    app = web.Application(client_max_size=1024)
    app[CONTEXT] = context
    app.router.add_get("/health", health)
    app.on_response_prepare.append(_name_release)
    return app


_BY_ANSWER: web.AppKey[dict[Answer, _Route]] = web.AppKey("routes", dict)


async def _name_release(request: web.Request, response: web.StreamResponse) -> None:
    context = request.app[CONTEXT]
    response.headers["X-DWCP-Release"] = context.release.id
    if context.draining:
        response.force_close()


@web.middleware
async def _around(request: web.Request, handler: Answer) -> web.StreamResponse:
    """Everything an operation has in common: caller, authorisation, errors as JSON, metrics, planted defects."""
    started = time.perf_counter()
    context = request.app[CONTEXT]
    route = request.app[_BY_ANSWER].get(request.match_info.handler, _UNKNOWN)
    context.in_flight += 1
    caller: Identity | None = None
    forwarded = False
    try:
        try:
            caller, forwarded = _caller(request)
            if route.roles is not None and caller.ou not in route.roles:
                raise Refused(f"OU={caller.ou} may not do this.", code="forbidden")
            request[CALLER] = caller
            if route.content and not forwarded and "X-DWCP-Session" in request.headers:
                context.admission.check(request.headers["X-DWCP-Session"])
            if context.defects is not None and route.content and forwarded and context.defects.fails_now():
                response: web.StreamResponse = error_response(500, "internal", "The agent failed.")
            else:
                response = await handler(request)
        except (AgentError, web.HTTPException) as error:
            response = _as_response(error)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.bug("request-bug", op=route.op, session=request.headers.get("X-DWCP-Session"), identity=caller)
            response = error_response(500, "internal", "The agent failed; its log says why.")
        if response.status >= 400 and (route.content or response.status == 403):
            log.warn("refused", op=route.op, status=response.status, session=request.headers.get("X-DWCP-Session"), identity=caller)
        if context.defects is not None and context.defects.latency and route.content:
            await context.defects.hold(time.perf_counter() - started, request.headers.get("X-Request-Start"))
        context.metrics.request(route.op, response.status, time.perf_counter() - started)
        return response
    finally:
        context.in_flight -= 1


def _caller(request: web.Request) -> tuple[Identity, bool]:
    transport = request.transport
    if transport is None:
        raise Refused("The connection is gone.", code="gone", status=400)
    peer = from_certificate(transport.get_extra_info("peercert"))
    return caller_of(peer, request.headers.getall("X-DWCP-Client", []))


def error_response(status: int, code: str, message: str) -> web.Response:
    """An error as every client gets it."""
    return web.Response(status=status, content_type="application/json", text=json.dumps({"error": code, "message": message}))


def _as_response(error: AgentError | web.HTTPException) -> web.Response:
    if isinstance(error, web.HTTPException):
        codes = {404: "not-found", 405: "method", 413: "too-large"}
        response = error_response(error.status, codes.get(error.status, "http"), error.reason)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    if isinstance(error, Elsewhere):
        body = {"error": "other-slot", "message": error.message, "control": {"port": error.port}}
        return web.Response(status=421, content_type="application/json", text=json.dumps(body))
    if isinstance(error, Refused):
        return error_response(error.status, error.code, error.message)
    if isinstance(error, Corrupt):
        return error_response(422, "corrupt", error.message)
    if isinstance(error, BadInput):
        return error_response(400, "bad-name", error.message)
    if isinstance(error, ProtocolError):
        return error_response(400, "bad-content", error.message)
    return error_response(500, "internal", error.message)
