"""The role's alert rules and configuration, by promtool: what fires, about whom, and what must not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from golive.environment import ROOT
from tests.support.programs import command

ROLE = ROOT / "roles" / "dwcp_monitoring"
AGENT = 'job="agent",host="h1",site="x",slot="b",release="R"'
GOOD = 'dwcp_load_requests_total{host="h2",release="R",result="ok"}'
BAD = 'dwcp_load_requests_total{host="h2",release="R",result="error"}'
CORRUPT = 'dwcp_load_requests_total{host="h2",release="R",result="corrupt"}'
UP = f"up{{{AGENT}}}"
SESSIONS = 'haproxy_backend_sessions_total{job="gateway",host="h1",proxy="slot_b",slot="b"}'
RESPONSES = 'haproxy_backend_http_responses_total{job="gateway",host="h1",proxy="slot_b",slot="b",code="2xx"}'
NONE = BAD.replace('"R"', '"none"')
REFUSED = BAD.replace("error", "refused")
SERVER = 'haproxy_server_status{job="gateway",host="h1",proxy="slot_b",slot="b",server="h1",state="UP"}'

OTHER = SERVER.replace("slot_b", "slot_a").replace('slot="b"', 'slot="a"')


def rendered(name: str, **more: Any) -> str:
    values = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    values |= {"ansible_managed": "test", **more}
    engine = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    return engine.from_string((ROLE / "templates" / name).read_text(encoding="utf-8")).render(values)


def promtool(directory: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command("promtool", list(argv), shared=directory), capture_output=True, text=True, timeout=120)


def labels(alert: str) -> str:
    """``NAME`` fires about R, ``NAME/RELEASE`` about another."""
    name, _, release = alert.partition("/")
    return f'{{alertname="{name}", release="{release or "R"}"}}'


def latency(slow: float) -> dict[str, str]:
    """Histogram of 100 requests a second of which ``slow`` a second take longer than 100 ms."""
    bucket = 'dwcp_load_latency_seconds_bucket{{host="h2",release="R",le="{}"}}'
    return {
        bucket.format("0.05"): f"0+{(100 - slow) * 10:g}x30",
        bucket.format("0.1"): f"0+{(100 - slow) * 10:g}x30",
        bucket.format("0.5"): "0+1000x30",
        bucket.format("+Inf"): "0+1000x30",
    }


# name, input series every 10 s, minute looked at, alerts about R that fire then
CASES: list[tuple[str, dict[str, str], str, set[str]]] = [
    ("two percent of errors", {GOOD: "0+980x30", BAD: "0+20x30"}, "2m", {"DwcpErrorRateHigh"}),
    ("half a percent of errors", {GOOD: "0+995x30", BAD: "0+5x30"}, "2m", set()),
    ("refused, timed out and no one answering count as errors", {GOOD: "0+950x30", REFUSED: "0+50x30"}, "2m", {"DwcpErrorRateHigh"}),
    ("errors of another release", {GOOD: "0+980x30", BAD.replace('"R"', '"Q"'): "0+20x30"}, "2m", set()),
    ("requests that no one answered", {GOOD: "0+1000x30", NONE: "0+20x30"}, "2m", {"DwcpErrorRateHigh/none"}),
    ("a request in a thousand that no one answered", {GOOD: "0+1000x30", NONE: "0+1x30"}, "2m", set()),
    ("agents that answer 5xx while no load client is there", {
        f'dwcp_requests_total{{{AGENT},op="put",code="201"}}': "0+90x30",
        f'dwcp_requests_total{{{AGENT},op="put",code="500"}}': "0+10x30",
    }, "2m", {"DwcpErrorRateHigh"}),
    ("agents that break off two percent of kept connections", {
        UP: "1x30", f"dwcp_build_info{{{AGENT}}}": "1x30", SESSIONS: "0+1000x30",
        RESPONSES: "0+980x30",
    }, "2m", {"DwcpErrorRateHigh"}),
    ("a gateway whose requests are all answered", {
        UP: "1x30", f"dwcp_build_info{{{AGENT}}}": "1x30", SESSIONS: "0+1000x30", RESPONSES: "0+998x30",
    }, "2m", set()),
    ("the first corrupt answer ever", {GOOD: "0+100x30", CORRUPT: "_x10 1x20"}, "2m30s", {"DwcpCorruption"}),
    ("a corrupt answer of long ago", {GOOD: "0+100x60", CORRUPT: "1x60"}, "9m", set()),
    ("corruption that the agent saw", {f"dwcp_corruption_total{{{AGENT}}}": "0x10 1x20"}, "2m30s", {"DwcpCorruption"}),
    ("two percent above 100 ms", latency(2), "2m", {"DwcpLatencyHigh"}),
    ("half a percent above 100 ms", latency(0.5), "2m", set()),
    ("an agent that is scraped", {UP: "1x30", f"dwcp_build_info{{{AGENT}}}": "1x30", SERVER: "1x30"}, "2m", set()),
    ("an agent that died", {UP: "1x6 0x24", SERVER: "1x6 0x24"}, "1m30s", {"DwcpAgentDown", "DwcpMetricsAbsent"}),
    ("an agent that died where no gateway tells", {UP: "1x6 0x24"}, "1m30s", {"DwcpAgentDown", "DwcpMetricsAbsent"}),
    ("404 on /metrics while the agent serves", {UP: "1x6 0x24", SERVER: "1x30"}, "1m30s", {"DwcpMetricsAbsent"}),
    ("metrics without the agent's own", {UP: "1x30", SERVER: "1x30"}, "2m", {"DwcpMetricsAbsent"}),
    ("the other slot's server is up", {UP: "0x30", OTHER: "1x30"}, "2m", {"DwcpAgentDown", "DwcpMetricsAbsent"}),
    ("an agent that keeps dying between scrapes", {
        UP: "1x30", f"dwcp_build_info{{{AGENT}}}": "1x30", f"dwcp_start_time_seconds{{{AGENT}}}": "100x6 130x3 160x21",
    }, "2m", {"DwcpAgentDown"}),
    ("an agent that was restarted once", {
        UP: "1x30", f"dwcp_build_info{{{AGENT}}}": "1x30", f"dwcp_start_time_seconds{{{AGENT}}}": "100x6 130x24",
    }, "2m", set()),
]  # fmt: skip
NAMES = ["DwcpErrorRateHigh", "DwcpCorruption", "DwcpAgentDown", "DwcpMetricsAbsent", "DwcpLatencyHigh"]


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rendered("rules.yml.j2"))
    query = 'count by (alertname, release) (ALERTS{alertstate="firing",release=~"R|none"}) > bool 0'
    tests = [
        {
            "name": name,
            "interval": "10s",
            "input_series": [{"series": series, "values": values} for series, values in inputs.items()],
            "promql_expr_test": [
                {
                    "expr": query,
                    "eval_time": at,
                    "exp_samples": [{"labels": labels(alert), "value": 1} for alert in sorted(firing)],
                }
            ],
        }
        for name, inputs, at, firing in CASES
    ]
    content = {"rule_files": [str(tmp_path / "rules.yml")], "evaluation_interval": "2s", "tests": tests}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(content))
    done = promtool(tmp_path, "test", "rules", str(tmp_path / "test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {alert.partition("/")[0] for *_, firing in CASES for alert in firing} == set(NAMES)


def test_the_rules_have_the_names_of_the_contract(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rendered("rules.yml.j2"))
    done = promtool(tmp_path, "check", "rules", str(tmp_path / "rules.yml"))
    assert done.returncode == 0, done.stderr
    groups = yaml.safe_load((tmp_path / "rules.yml").read_text())["groups"]
    assert {rule["alert"] for group in groups for rule in group["rules"]} == set(NAMES)


def test_a_dead_agent_is_announced_within_fifteen_seconds() -> None:
    values = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    worst = values["dwcp_monitoring_interval_s"] + values["dwcp_monitoring_timeout_s"]
    worst += values["dwcp_monitoring_absent_s"] + values["dwcp_monitoring_evaluation_s"]
    assert worst <= 15


@pytest.mark.parametrize("load_interval", [2, 10])
def test_prometheus_takes_the_configuration(tmp_path: Path, load_interval: int) -> None:
    hosts = {name: {"site": "x"} for name in ("h1", "h2", "ops")}
    groups = {"agents": ["h1", "h2"], "gateways": ["h1"], "loads": ["h2"], "ops": ["ops"], "all": sorted(hosts)}
    text = rendered(
        "prometheus.yml.j2", hostvars=hosts, groups=groups, inventory_hostname="ops", dwcp_monitoring_load_interval_s=load_interval
    )
    (tmp_path / "prometheus.yml").write_text(text)
    done = promtool(tmp_path, "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    assert set(jobs) == {"agent", "load", "gateway", "node"}
    assert all(job["scheme"] == "https" and job["tls_config"]["min_version"] == "TLS13" for job in jobs.values())
    assert [group["labels"]["host"] for group in jobs["node"]["static_configs"]] == ["h1", "h2", "ops"]


@pytest.mark.parametrize("role", ["dwcp_gateway", "dwcp_monitoring"])
def test_a_roles_argument_specs_are_its_defaults(role: str) -> None:
    directory = ROOT / "roles" / role
    defaults = yaml.safe_load((directory / "defaults" / "main.yml").read_text(encoding="utf-8"))
    options = yaml.safe_load((directory / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items()} == defaults
