"""Typed, validated YAML files: unknown keys and impossible values are refused by name.

Every error is an InputError that names file, key and what is allowed. Nothing here imports torch:
Snakemake reads the configuration at every start.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from piecemeal.errors import InputError

# libyaml's, where PyYAML has it, is ten times as fast, and the plan reads a hundred files.
SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UniqueKeys(SAFE_LOADER):
    """Refuses a key that a mapping has twice, of which YAML would silently take the last."""

    def __init__(self, stream: str):
        super().__init__(stream)
        self._checked: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """As of the base class, which then replaces merge keys (`<<`) by what they stand for."""
        if id(node) not in self._checked:
            self._checked.add(id(node))
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for key in keys:
                if sum(key.value == other.value for other in keys) > 1:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key '{key.value}' is there twice", problem_mark=key.start_mark
                    )
        super().flatten_mapping(node)


class Strict(BaseModel):
    """A model that refuses keys it does not know and cannot be changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
PositiveInt = Annotated[int, Field(gt=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[Finite, Field(gt=0)]


def load_yaml(path: Path) -> Any:
    """Read a YAML file; InputError if it is absent, unreadable or not YAML."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)
    except FileNotFoundError:
        there = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise InputError(f"{path}: no such file; in that folder there are: {there}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {error}; correct the file") from None


def validate(content: Any, model: type[BaseModel], where: Path | str) -> Any:
    """Turn `content` into `model`; InputError naming `where`, the key and what is allowed."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [f"{where}: {_explain(e, model)}" for e in error.errors()]
        raise InputError("\n".join(lines)) from None


def load_model(path: Path, model: type[BaseModel]) -> Any:
    """Read `path` as `model`; InputError naming file, key and what is allowed."""
    return validate(load_yaml(path), model, path)


def _explain(error: dict, model: type[BaseModel]) -> str:
    shown, models = _follow(model, error["loc"])
    key = ".".join(shown) or "(whole file)"
    if error["type"] != "extra_forbidden":
        given = "" if error["type"] == "missing" else f", got {error['input']!r:.80}"
        return f"key '{key}': {error['msg']}{given}"
    allowed = sorted({name for m in models for name in m.model_fields})
    near = difflib.get_close_matches(str(error["loc"][-1]), allowed, n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return f"key '{key}': unknown key{hint}; allowed: {', '.join(allowed)}"


def _follow(model: type[BaseModel], location: tuple) -> tuple[list[str], list[type[BaseModel]]]:
    """The keys of `location` as they stand in the file, and the models that know the last one.

    The location also holds the tags of unions, which choose a model and stand in no file.
    """
    shown, models = [], [model]
    for number, part in enumerate(location):
        known = [m for m in models if part in m.model_fields]
        tagged = [m for m in models if part in _tags(m)]
        last = number == len(location) - 1
        if not known and tagged and not last:
            models = tagged
            continue
        shown.append(str(part))
        if known and not last:
            models = [n for m in known for n in _models_in(m.model_fields[part].annotation)]
    return shown, models


def _tags(model: type[BaseModel]) -> set:
    """What a union may know the model by: the values of its `kind` or `name`."""
    fields = (model.model_fields.get(name) for name in ("kind", "name"))
    return {value for f in fields if f for value in get_args(f.annotation)}


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for inner in getattr(annotation, "__args__", ()) for m in _models_in(inner)]
