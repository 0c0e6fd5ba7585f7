"""YAML -> :class:`~golive.runbook.model.Runbook`, with every error at once, each with file, line and column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import yaml
from pydantic import BaseModel, ValidationError

from golive.errors import BadInput
from golive.runbook.duration import format_duration, format_offset, parse_duration, parse_offset
from golive.runbook.model import Runbook

__all__ = ["ActionKind", "Problem", "RunbookInvalid", "load", "parse", "schema"]

Path_ = tuple[str | int, ...]

_MOST_NODES = 20_000
"""A runbook with more parts than this is a mistake: aliases of aliases."""


class ActionKind(Protocol):
    """What the loader needs to know of an action."""

    Params: type[BaseModel]
    budget: timedelta


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a runbook. Lines and columns count from 1."""

    line: int
    column: int
    message: str

    def at(self, file: str) -> str:
        return f"{file}:{self.line}:{self.column}: {self.message}"


class RunbookInvalid(BadInput):
    """A runbook cannot be used; ``problems`` lists everything that is wrong with it."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = sorted(set(problems))
        super().__init__("\n".join(problem.at(file) for problem in self.problems))


def load(path: Path, actions: Mapping[str, ActionKind]) -> Runbook:
    """Reads and checks the runbook at ``path`` against the registered ``actions``.

    Raises:
        RunbookInvalid: naming file, line and column of every error.
        BadInput: the file cannot be read.
    """
    file = _shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(f"The runbook {file} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"The runbook {file} cannot be read: {error}.") from None
    return parse(text, actions, file=file)


def parse(text: str, actions: Mapping[str, ActionKind], *, file: str = "runbook") -> Runbook:
    """Like :func:`load`, from text."""
    document = _document(text, file)
    problems = list(_against_registry(document, actions))
    runbook: Runbook | None = None
    try:
        runbook = Runbook.model_validate(document.data)
    except ValidationError as error:
        problems += [document.problem((), item, Runbook) for item in error.errors() if not document.repeats(item)]
    problems += _across(document)
    if problems or runbook is None:
        raise RunbookInvalid(file, problems)
    return runbook


def schema(actions: Mapping[str, ActionKind]) -> dict[str, Any]:
    """JSON Schema of the format for editors, with the parameters of every registered action."""
    result = Runbook.model_json_schema(by_alias=True)
    definitions = result["$defs"]
    step = definitions["Step"]
    step["properties"]["uses"] = {"type": "string", "enum": sorted(actions)}
    step["allOf"] = []
    for name, kind in sorted(actions.items()):
        params = kind.Params.model_json_schema(by_alias=True, ref_template=f"#/$defs/with.{name}.{{model}}")
        for inner, definition in params.pop("$defs", {}).items():
            definitions[f"with.{name}.{inner}"] = definition
        definitions[f"with.{name}"] = params
        then: dict[str, Any] = {"properties": {"with": {"$ref": f"#/$defs/with.{name}"}}}
        if params.get("required"):
            then["required"] = ["with"]
        step["allOf"].append({"if": {"properties": {"uses": {"const": name}}}, "then": then})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **result}


class _Loader(yaml.SafeLoader):
    """YAML without surprises: ``on`` and ``yes`` are text, numbers are decimal."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - PyYAML's own name


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", "n~" + "\0"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?", "-+0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})\\Z"), [*_first.replace("\0", ""), ""])


@dataclass
class _Document:
    """Plain data, and where in the file each part of it stands."""

    data: Any
    keys: dict[Path_, tuple[int, int]]
    values: dict[Path_, tuple[int, int]]

    def at(self, path: Path_, *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value (or the key) at ``path``, or of the nearest thing around it."""
        if key and path in self.keys:
            return self.keys[path]
        while path not in self.values and path:
            path = path[:-1]
        return self.values.get(path, (1, 1))

    def repeats(self, error: Any) -> bool:
        """Whether the error only says that a list is empty because none of its items, each reported by itself, was right."""
        return error["type"] == "too_short" and bool(error["input"])

    def problem(self, base: Path_, error: Any, model: type[BaseModel]) -> Problem:
        """A pydantic error as a sentence at its place."""
        path = (*base, *error["loc"])
        kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
        if kind == "extra_forbidden":
            return Problem(*self.at(path, key=True), f"unknown key {path[-1]!r}{_known(model, error['loc'])}")
        if kind == "missing":
            return Problem(*self.at(path[:-1]), f"the key {path[-1]!r} is missing")
        if kind in ("model_type", "dict_type"):
            message = "expected a mapping, key: value"
        if kind == "string_pattern_mismatch":
            message = f"{error['input']!r} is not a name: lower-case letters, digits, '.', '+' and '-' only"
        where = f"{path[-1]}: " if path and isinstance(path[-1], str) else ""
        return Problem(*self.at(path), f"{where}{message[:1].lower()}{message[1:]}")


def _known(model: type[BaseModel], loc: Path_) -> str:
    """``; known are a, b`` for the model that the unknown key stands in, where it can be told."""
    current: Any = model
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        fields = {field.alias or name: field for name, field in current.model_fields.items()}
        if part not in fields:
            return ""
        inner = _models(fields[part].annotation)
        if len(inner) != 1:
            return ""
        current = inner[0]
    names = ", ".join(field.alias or name for name, field in current.model_fields.items())
    return f"; known are {names}" if names else "; none is known here"


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in getattr(annotation, "__args__", ()) for model in _models(argument)]


def _document(text: str, file: str) -> _Document:
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise RunbookInvalid(file, [Problem(line, column, f"not valid YAML: {error.problem or error.context}")]) from None
    except yaml.YAMLError as error:
        raise RunbookInvalid(file, [Problem(1, 1, f"not valid YAML: {str(error).splitlines()[0]}")]) from None
    except RecursionError:
        raise RunbookInvalid(file, [Problem(1, 1, "nested too deeply")]) from None
    if node is None:
        raise RunbookInvalid(file, [Problem(1, 1, "the file is empty")])
    document = _Document(None, {}, {})
    problems: list[Problem] = []
    document.data = _plain(node, (), document, problems)
    if problems:
        raise RunbookInvalid(file, problems)
    return document


def _plain(node: Any, path: Path_, document: _Document, problems: list[Problem]) -> Any:
    document.values[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if len(document.values) > _MOST_NODES or len(path) > 20:
        if not problems:
            problems.append(Problem(*document.values[path], "the file is too large or nested too deeply (an alias inside its own anchor?)"))
        return None
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*path, index), document, problems) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key, value in node.value:
            place = (key.start_mark.line + 1, key.start_mark.column + 1)
            if not isinstance(key, yaml.ScalarNode):
                problems.append(Problem(*place, "a key must be plain text"))
                continue
            if key.value in result:
                problems.append(Problem(*place, f"the key {key.value!r} is written twice"))
            document.keys[(*path, key.value)] = place
            result[key.value] = _plain(value, (*path, key.value), document, problems)
        return result
    tag = node.tag.rpartition(":")[2]
    if tag == "str":
        return node.value
    if tag == "null":
        return None
    if tag == "bool":
        return node.value == "true"
    if tag in ("int", "float"):
        return int(node.value) if tag == "int" else float(node.value)
    problems.append(Problem(*document.values[path], f"the tag {node.tag!r} is not part of the format"))
    return None


def _raw_steps(document: _Document) -> Iterator[tuple[Path_, dict[str, Any], dict[str, Any]]]:
    """Path, stage and step of everything that looks like a step, however broken the rest is."""
    stages = document.data.get("stages") if isinstance(document.data, dict) else None
    for s, stage in enumerate(stages if isinstance(stages, list) else []):
        steps = stage.get("steps") if isinstance(stage, dict) else None
        for t, step in enumerate(steps if isinstance(steps, list) else []):
            if isinstance(step, dict):
                yield ("stages", s, "steps", t), stage, step


def _against_registry(document: _Document, actions: Mapping[str, ActionKind]) -> Iterator[Problem]:
    for path, stage, step in _raw_steps(document):
        name = step.get("uses")
        if not isinstance(name, str):
            continue
        if name not in actions:
            known = ", ".join(sorted(actions)) or "none"
            yield Problem(*document.at((*path, "uses")), f"there is no action {name!r}; known are {known}")
            continue
        kind, params = actions[name], step.get("with", {})
        if isinstance(params, dict):
            try:
                kind.Params.model_validate(params)
            except ValidationError as error:
                base: Path_ = (*path, "with") if "with" in step else path
                yield from (document.problem(base, item, kind.Params) for item in error.errors())
        yield from _budget(document, path, stage, step, kind)


def _budget(document: _Document, path: Path_, stage: dict[str, Any], step: dict[str, Any], kind: ActionKind) -> Iterator[Problem]:
    written, whole = _read(step.get("budget")), _read(stage.get("budget"))
    if written == timedelta():
        yield Problem(*document.at((*path, "budget")), "budget: a step needs more than no time")
    if written is not None and whole is not None and written > whole:
        longer = f"the step's budget {format_duration(written)} is longer than its stage's, {format_duration(whole)}"
        yield Problem(*document.at((*path, "budget")), longer)


def _across(document: _Document) -> Iterator[Problem]:
    """What is wrong between parts that are each right: double names, offsets out of order, a stage budget of nothing."""
    stages = document.data.get("stages") if isinstance(document.data, dict) else None
    seen: dict[str, int] = {}
    last: timedelta | None = None
    for s, stage in enumerate(stages if isinstance(stages, list) else []):
        if not isinstance(stage, dict):
            continue
        name, path = stage.get("stage"), ("stages", s)
        if isinstance(name, str):
            line = document.at((*path, "stage"))[0]
            if name in seen:
                yield Problem(*document.at((*path, "stage")), f"the stage {name!r} is already on line {seen[name]}")
            seen.setdefault(name, line)
        if _read(stage.get("budget")) == timedelta():
            yield Problem(*document.at((*path, "budget")), "budget: a stage needs more than no time")
        try:
            offset = parse_offset(stage.get("at"))
        except ValueError:
            continue
        if last is not None and offset < last:
            earlier = f"at: {format_offset(offset)} is earlier than {format_offset(last)} of the stage before"
            yield Problem(*document.at((*path, "at")), earlier)
        last = offset if last is None else max(last, offset)
    ids: dict[str, int] = {}
    for step_path, _, step in _raw_steps(document):
        identity = step.get("id")
        if isinstance(identity, str):
            if identity in ids:
                yield Problem(*document.at((*step_path, "id")), f"the step id {identity!r} is already on line {ids[identity]}")
            ids.setdefault(identity, document.at((*step_path, "id"))[0])


def _read(value: Any) -> timedelta | None:
    try:
        return parse_duration(value)
    except ValueError:
        return None


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
