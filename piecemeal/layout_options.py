"""Whether `layout_options` of a data set are what the reader of its layout takes.

A layout says so in the signature of its `find_cases`. That is read from the file's text: to import
readers of volumes takes ten times as long, and each start of Snakemake makes a plan.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from piecemeal import layout_types
from piecemeal.errors import InputError
from piecemeal.validation import validate

HANDED_OVER = 2  # arguments of `find_cases` that are no options: root and bad


def check_layout_options(module: str, options: Mapping[str, Any], where: Path) -> None:
    """Refuse options that `module`, a layout, does not take or that are not what it expects.

    options: `layout_options` of the file `where`. Raises InputError naming that file and the key.
    """
    model, told = _models(module)
    takes_any = model.model_config["extra"] == "allow"
    if options and not model.model_fields and not takes_any:
        layout = module.rpartition(".")[2]
        raise InputError(
            f"{where}: key 'layout_options': the layout '{layout}' takes none, got "
            f"{sorted(options)}; delete them"
        )
    validate({"layout_options": options}, told, where)


@functools.cache
def _models(module: str) -> tuple[type[BaseModel], type[BaseModel]]:
    """Of the options of a layout, and of a file with them; many data sets share a layout."""
    model = options_model(module)
    return model, create_model("DataSet", layout_options=(model, ...))


def options_model(module: str) -> type[BaseModel]:
    """What `find_cases` of a layout takes beside `root` and `bad`, without an import of it.

    Types are those of `layout_types` and built-in ones; of any other every value is taken, and
    every option of a layout that has `**options`, or whose `find_cases` is not defined in it.
    """
    path = Path(find_spec(module).origin)
    body = ast.parse(path.read_text(encoding="utf-8")).body
    found = [n for n in body if isinstance(n, ast.FunctionDef) and n.name == "find_cases"]
    extra = "forbid" if found and not found[0].args.kwarg else "allow"
    # Strict, as the layout gets what stands in the file: the text "false" would be true there.
    config = ConfigDict(extra=extra, strict=True)
    fields = _fields(found[0].args) if found else {}
    return create_model("LayoutOptions", __config__=config, **fields)


def _fields(taken: ast.arguments) -> dict[str, tuple[Any, Any]]:
    """Name -> type and default; the defaults themselves do not matter."""
    places = [*taken.posonlyargs, *taken.args]
    defaults = [None] * (len(places) - len(taken.defaults)) + taken.defaults
    pairs = [*zip(places, defaults, strict=True)][HANDED_OVER:]
    pairs += zip(taken.kwonlyargs, taken.kw_defaults, strict=True)
    return {one.arg: (_type(one.annotation), None if default else ...) for one, default in pairs}


def _type(annotation: ast.expr | None) -> Any:
    if annotation is None:
        return Any
    try:
        return eval(ast.unparse(annotation), dict(vars(layout_types)))
    except NameError:  # of a module that only the layout imports
        return Any
