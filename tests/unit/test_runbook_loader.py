"""A runbook is read whole or not at all, and everything wrong with it is said at once, each thing at its place."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from golive.actions.port import NoParams
from golive.errors import BadInput
from golive.runbook import Duration, Reaction, RunbookInvalid, load, parse, schema


class _Gate(BaseModel):
    model_config = ConfigDict(extra="forbid")
    duration: Duration = Field(alias="for")
    error_rate: str | None = None


class Plain:
    Params = NoParams
    budget = timedelta(minutes=1)


class Gate:
    Params = _Gate
    budget = timedelta(minutes=20)


ACTIONS = {"note": Plain, "gate": Gate}

GOOD = """\
schema: 1
runbook: golive
not_covered:
  - {stage: readiness, what: the list, why: no evidence yet}
stages:
  - stage: prepare
    at: T-7d
    owner: technical-lead
    converge: true
    steps:
      - id: look
        uses: note
  - stage: canary
    at: +60m
    owner: qa-lead
    title: First users
    budget: 45m
    steps:
      - id: watch-10
        uses: gate
        with: {for: 10m}
        owner: devops-engineer
        budget: 15m
        on: {fail: rollback, inconclusive: hold 20m then rollback, error: abort}
"""


def test_a_good_runbook_becomes_the_model():
    book = parse(GOOD, ACTIONS)
    assert [(stage.name, stage.at, stage.converge) for stage in book.stages] == [
        ("prepare", timedelta(days=-7), True),
        ("canary", timedelta(hours=1), False),
    ]
    step = book.stage("canary").steps[0]
    assert (step.id, step.params, step.budget, step.owner) == ("watch-10", {"for": "10m"}, timedelta(minutes=15), "devops-engineer")
    assert step.on.inconclusive == Reaction("rollback", timedelta(minutes=20))
    assert (step.on.fail, step.on.error) == (Reaction("rollback"), Reaction("abort"))
    assert book.not_covered[0].what == "the list"
    assert book.stage("canary").budget == timedelta(minutes=45)
    assert [(stage.name, step.id) for stage, step in book.steps()] == [("prepare", "look"), ("canary", "watch-10")]


def test_the_digest_is_of_what_it_means_not_of_how_it_is_written():
    book = parse(GOOD, ACTIONS)
    spelled = GOOD.replace("at: +60m", "at: T+1h").replace("schema: 1\n", "# a comment\n").replace("budget: 15m", "budget: 900s")
    assert parse(spelled, ACTIONS).digest == book.digest
    assert parse(GOOD.replace("for: 10m", "for: 11m"), ACTIONS).digest != book.digest


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "runbook: golive",
            "runbok: golive",
            ["2:1: unknown key 'runbok'; known are schema, runbook, stages, not_covered", "'runbook' is missing"],
        ),
        ("schema: 1", "schema: 2", ["1:9: schema: input should be 1"]),
        ("    owner: qa-lead\n", "", ["13:5: the key 'owner' is missing"]),
        ("owner: qa-lead", "owner: QA Lead", ["15:12: owner: 'QA Lead' is not a name"]),
        ("at: +60m", "at: 60", ["14:9: at: an offset from T-0 is written like T-7d"]),
        ("at: +60m", "at: T-8d", ["14:9: at: T-8d is earlier than T-7d of the stage before"]),
        ("stage: canary", "stage: prepare", ["13:12: the stage 'prepare' is already on line 6"]),
        ("id: watch-10", "id: look", ["19:13: the step id 'look' is already on line 11"]),
        ("id: watch-10", "id: ../etc", ["19:13: id: '../etc' is not a name"]),
        ("id: watch-10", "id: 7", ["19:13: id: input should be a valid string"]),
        ("uses: gate", "uses: gait", ["20:15: there is no action 'gait'; known are gate, note"]),
        ("for: 10m", "for: 10", ["21:21: for: a duration needs a unit"]),
        ("{for: 10m}", "{for: 10m, eror_rate: x}", ["21:26: unknown key 'eror_rate'; known are for, error_rate"]),
        ("        with: {for: 10m}\n", "", ["19:9: the key 'for' is missing"]),
        ("uses: note", "uses: note\n        with: {a: 1}", ["13:16: unknown key 'a'; none is known here"]),
        ("budget: 15m", "budget: 1h", ["23:17: the step's budget 1h is longer than its stage's, 45m"]),
        ("budget: 15m", "budget: 0s", ["23:17: budget: a step needs more than no time"]),
        ("fail: rollback", "fail: explode", ["24:20: fail: expected rollback, hold, abort or"]),
        ("fail: rollback", "pass: rollback", ["24:14: unknown key 'pass'; known are fail, inconclusive, error"]),
        ("hold 20m then", "hold 20 then", ["24:44: inconclusive: a duration is written like"]),
        ("converge: true", "converge: yes", ["9:15: converge: input should be a valid boolean"]),
        ("    converge: true\n", "    converge: true\n    converge: false\n", ["10:5: the key 'converge' is written twice"]),
        ("title: First users", "title: !!python/name:os.system x", ["16:12: the tag"]),
        ("why: no evidence yet", "y: z", ["the key 'why' is missing", "4:40: unknown key 'y'; known are stage, what, why"]),
        ("    title: First users", "   title: First users", ["16:4: not valid YAML", ""]),
        ("steps:\n      - id: look\n        uses: note", "steps: []", ["10:12: steps: "]),
        ("{for: 10m}", "[for]", ["21:15: with: expected a mapping"]),
    ],
)
def test_every_error_names_its_line_and_column_and_what_to_write(old, new, said):
    assert GOOD.count(old) >= 1
    with pytest.raises(RunbookInvalid) as caught:
        parse(GOOD.replace(old, new, 1), ACTIONS, file="runbooks/golive.yaml")
    lines = str(caught.value).splitlines()
    assert caught.value.exit_code == 2
    assert all(line.startswith("runbooks/golive.yaml:") for line in lines)
    for expected in said:
        assert any(expected in line for line in lines), lines
    assert len(lines) <= max(1, len(said)), lines


def test_all_errors_come_at_once_in_the_order_of_the_file():
    text = GOOD.replace("owner: technical-lead", "ownr: x").replace("uses: gate", "uses: gait").replace("at: +60m", "at: soon")
    with pytest.raises(RunbookInvalid) as caught:
        parse(text, ACTIONS)
    places = [(problem.line, problem.column) for problem in caught.value.problems]
    assert places == sorted(places)
    assert {line for line, _ in places} == {6, 8, 14, 20}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1:1: the file is empty"),
        ("# only a comment\n", "1:1: the file is empty"),
        ("- a\n- b\n", "1:1: expected a mapping"),
        ("stages: [", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: &x [*x]\n", "too large or nested too deeply"),
        ("a: \x00\n", "not valid YAML"),
        ("? [a]\n: b\n", "a key must be plain text"),
        ("runbook: g\nstages: []\n", "2:9: stages: "),
        ("runbook: g\nstages: {a: b}\n", "2:9: stages: "),
        ("runbook: g\nstages: [x]\n", "2:10: "),
        ("[" * 3000, "not valid YAML|nested too deeply"),
    ],
)
def test_what_is_no_runbook_at_all_is_said_in_one_line(text, said):
    with pytest.raises(RunbookInvalid) as caught:
        parse(text, ACTIONS, file="x.yaml")
    assert re.search(said, str(caught.value)), str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_aliases_stand_for_what_they_name_but_cannot_grow_without_end():
    text = GOOD.replace("with: {for: 10m}", "with: &w {for: 10m}") + "      - {id: again, uses: gate, with: *w}\n"
    assert parse(text, ACTIONS).stage("canary").steps[1].params == {"for": "10m"}
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    with pytest.raises(RunbookInvalid, match="too large"):
        parse(bomb, ACTIONS)


def test_words_that_yaml_would_turn_into_something_else_stay_words():
    text = GOOD.replace("title: First users", "title: 2030-01-01").replace("what: the list", "what: on")
    book = parse(text, ACTIONS)
    assert book.stage("canary").title == "2030-01-01"
    assert book.not_covered[0].what == "on"


def test_a_file_that_is_not_there_or_no_text_is_one_sentence(tmp_path: Path):
    with pytest.raises(BadInput, match="does not exist"):
        load(tmp_path / "no.yaml", ACTIONS)
    (tmp_path / "latin.yaml").write_bytes(b"runbook: \xe4\n")
    with pytest.raises(BadInput, match="cannot be read"):
        load(tmp_path / "latin.yaml", ACTIONS)
    (tmp_path / "good.yaml").write_text(GOOD)
    assert load(tmp_path / "good.yaml", ACTIONS).name == "golive"


def test_the_schema_for_editors_agrees_with_the_loader():
    validator = jsonschema.Draft202012Validator(schema(ACTIONS))
    validator.check_schema(validator.schema)
    # core YAML: `on` is a word, not a boolean
    good = yaml.load(GOOD, Loader=yaml.BaseLoader)
    good["schema"], good["stages"][0]["converge"] = 1, True
    assert list(validator.iter_errors(good)) == []
    for breaks in (
        lambda data: data["stages"][1]["steps"][0].update(uses="gait"),
        lambda data: data["stages"][1]["steps"][0].update({"with": {"for": "10"}}),
        lambda data: data["stages"][1]["steps"][0].pop("with"),
        lambda data: data["stages"][0].pop("owner"),
        lambda data: data.update(more=1),
    ):
        bad = yaml.load(GOOD, Loader=yaml.BaseLoader)
        bad["schema"], bad["stages"][0]["converge"] = 1, True
        breaks(bad)
        assert list(validator.iter_errors(bad))
