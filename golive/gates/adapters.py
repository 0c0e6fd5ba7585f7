"""The adapters of the ports: Prometheus and the load clients, over HTTPS with the operator's certificate."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from golive.errors import Unprepared
from golive.gates.metrics import Page, Track
from golive.gates.window import NoData, Reason, Series

if TYPE_CHECKING:
    import httpx

__all__ = ["LoadClient", "Prometheus", "operator_tls"]

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LONGEST_RAW_S = 3600.0
_RULES_OLD_S = 30.0
_PAGE = 20_000


def operator_tls(pki: Path) -> ssl.SSLContext:
    """TLS 1.3 with ``operator.{crt,key}`` and ``ca.crt`` of ``.golive/<env>/pki``. Raises Unprepared when they are not there."""
    ca, certificate, key = pki / "ca.crt", pki / "operator.crt", pki / "operator.key"
    try:
        context = ssl.create_default_context(cafile=str(ca))
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Unprepared(f"The operator's certificate in {pki} cannot be used ({error}); run `inv provision` first.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _client(tls: ssl.SSLContext, timeout_s: float, proxy: str | None) -> httpx.Client:
    import httpx  # takes 0.1 s, which verbs that measure nothing need not wait for

    return httpx.Client(verify=tls, timeout=timeout_s, trust_env=False, follow_redirects=False, proxy=proxy)


def _fetched(client: httpx.Client, source: str, url: str, params: Mapping[str, str | int]) -> Any | NoData:
    """The JSON that ``url`` answers with, whatever the status when it is JSON of an API error; or why there is none."""
    import httpx

    try:
        response = client.get(url, params=dict(params))
    except httpx.TimeoutException:
        return NoData(source, Reason.TIMEOUT, url)
    except httpx.HTTPError as error:
        return NoData(source, Reason.UNREACHABLE, str(error) or type(error).__name__)
    if response.status_code != 200:
        return NoData(source, Reason.REFUSED, f"HTTP {response.status_code}: {response.text[:200]}")
    try:
        return response.json()
    except ValueError:
        return NoData(source, Reason.MALFORMED, "the answer is not JSON")


class Prometheus:
    """``Metrics`` over Prometheus' HTTP API. Asks for range vectors, so that points carry the time of their scrape: an instant query would
    repeat a value for five minutes after its target is gone.
    """

    def __init__(self, address: str, tls: ssl.SSLContext, *, port: int = 9090, timeout_s: float = 5.0, proxy: str | None = None) -> None:
        self._client = _client(tls, timeout_s, proxy)
        self._base = f"https://{address}:{port}/api/v1"

    def close(self) -> None:
        self._client.close()

    def now(self) -> float | NoData:
        found = self._answered("time", "query", {"query": "time()"})
        if isinstance(found, NoData):
            return found
        try:
            told = float(found["result"][1])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            return NoData("time", Reason.MALFORMED, str(error))
        return told if math.isfinite(told) else NoData("time", Reason.NOT_A_NUMBER)

    def raw(self, metric: str, labels: Mapping[str, str], seconds: float, now: float) -> list[Track] | NoData:
        if not _NAME.fullmatch(metric) or not all(_NAME.fullmatch(key) for key in labels):
            raise ValueError(f"{metric!r} with {dict(labels)!r} is no series")
        selector = ",".join(f"{key}={_quoted(value)}" for key, value in sorted(labels.items()))
        span = max(1, math.ceil(min(seconds, _LONGEST_RAW_S)))
        query = f"{metric}{{{selector}}}[{span}s]"
        data = self._answered(metric, "query", {"query": query, "time": f"{now:.3f}"})
        if isinstance(data, NoData):
            return data
        try:
            if data["resultType"] != "matrix":
                raise ValueError(f"a {data['resultType']} instead of a matrix")
            tracks = [_track(result) for result in data["result"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return NoData(metric, Reason.MALFORMED, str(error))
        if not tracks:
            return NoData(metric, Reason.EMPTY, query)
        if any(not np.isfinite(track.series.value).all() for track in tracks):
            return NoData(metric, Reason.NOT_A_NUMBER, query)
        return tracks

    def instant(self, query: str) -> list[Any] | NoData:
        """The series that ``query`` gives at this moment, as Prometheus writes them: for questions to people's answers, not for gates."""
        found = self._answered("query", "query", {"query": query})
        if isinstance(found, NoData):
            return found
        result = found.get("result")
        if found.get("resultType") == "scalar":
            return [{"metric": {}, "value": result}]
        return result if isinstance(result, list) else NoData("query", Reason.MALFORMED, query)

    def over(self, query: str, start: float, end: float, step_s: float) -> list[tuple[float, float]] | NoData:
        """The one series that ``query`` gives from ``start`` to ``end``, for reports and not for gates; what is no number is left out."""
        span = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step_s:g}"}
        found = self._answered("query_range", "query_range", span)
        if isinstance(found, NoData):
            return found
        try:
            series = found["result"]
            if len(series) > 1:
                return NoData("query_range", Reason.MALFORMED, f"{len(series)} series where one is asked: {query}")
            points = [(float(time), float(value)) for one in series for time, value in one["values"]]
        except (KeyError, TypeError, ValueError) as error:
            return NoData("query_range", Reason.MALFORMED, str(error))
        return [(time, value) for time, value in points if math.isfinite(value)] or NoData("query_range", Reason.EMPTY, query)

    def firing(self, now: float) -> list[Mapping[str, str]] | NoData:
        rules = self._answered("alerts", "rules", {"type": "alert"})
        if isinstance(rules, NoData):
            return rules
        try:
            every = [rule for group in rules["groups"] for rule in group["rules"]]
            if not every:
                return NoData("alerts", Reason.EMPTY, "Prometheus has no alert rules, so none could fire")
            for rule in every:
                if rule["health"] != "ok":
                    return NoData("alerts", Reason.REFUSED, f"the rule {rule['name']} cannot be evaluated: {rule.get('lastError', '')}")
                age = now - _unix(rule["lastEvaluation"])
                if age > _RULES_OLD_S:
                    return NoData("alerts", Reason.OLD, f"the rule {rule['name']} was evaluated {age:.0f} s ago")
            return [dict(alert["labels"]) for rule in every for alert in rule["alerts"] if alert["state"] == "firing"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return NoData("alerts", Reason.MALFORMED, str(error))

    def _answered(self, source: str, what: str, params: Mapping[str, str | int]) -> Any | NoData:
        answer = _fetched(self._client, f"Prometheus, {source}", f"{self._base}/{what}", params)
        if isinstance(answer, NoData):
            return answer
        # Prometheus may answer 200 with an error, and proxies before it with anything.
        if not isinstance(answer, dict) or answer.get("status") != "success" or not isinstance(answer.get("data"), dict):
            told = answer.get("error", "") if isinstance(answer, dict) else ""
            return NoData(f"Prometheus, {source}", Reason.REFUSED, f"status is not success {told}".strip())
        return answer["data"]


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _track(result: Mapping[str, Any]) -> Track:
    labels = {str(key): str(value) for key, value in result["metric"].items()}
    points = [(float(time), float(value)) for time, value in result["values"]]
    return Track(labels, Series(np.array([time for time, _ in points]), np.array([value for _, value in points])))


def _unix(text: str) -> float:
    from datetime import datetime

    # Prometheus writes nanoseconds, which fromisoformat does not read.
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()


class LoadClient:
    """``Requests`` over the load client's ``/samples``."""

    def __init__(
        self, name: str, address: str, tls: ssl.SSLContext, *, port: int = 7450, timeout_s: float = 5.0, proxy: str | None = None
    ) -> None:
        self.name = name
        self._client = _client(tls, timeout_s, proxy)
        self._url = f"https://{address}:{port}/samples"

    def close(self) -> None:
        self._client.close()

    def after(self, seq: int) -> Page | NoData:
        source = f"Load client on {self.name}"
        answer = _fetched(self._client, source, self._url, {"after": seq, "limit": _PAGE})
        if isinstance(answer, NoData):
            return answer
        try:
            boot, following, rows = str(answer["boot"]), int(answer["next"]), list(answer["samples"])
            if not boot or any(len(row) != 6 for row in rows):
                raise ValueError("a sample has six fields, and a client a boot id")
        except (KeyError, TypeError, ValueError) as error:
            return NoData(source, Reason.MALFORMED, str(error))
        return Page(boot, following, rows)
