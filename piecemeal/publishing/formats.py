"""Printed tables as GitHub markdown and as LaTeX."""

from __future__ import annotations

import re
from functools import cache

import jinja2

from piecemeal.publishing.printed import NONE, PrintedTable


def to_markdown(printed: PrintedTable) -> str:
    """GitHub markdown, one table a block."""
    return _templates().get_template("table.md.j2").render(table=printed)


def to_latex(printed: PrintedTable) -> str:
    """LaTeX for `\\input`; needs the packages booktabs and amsmath."""
    return _templates().get_template("table.tex.j2").render(table=printed)


_LATEX = {
    "\\": r"\textbackslash{}",
    **{c: "\\" + c for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    NONE: "--",
}


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(_LATEX.get(character, character) for character in text)


def escape_markdown(text: str) -> str:
    """Text that GitHub prints as it stands, inside a table as well."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)


@cache
def _templates() -> jinja2.Environment:
    """Templates of the plain-text forms. Their brackets do not occur in LaTeX or markdown."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("piecemeal.publishing"),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # the two filters below escape; html is not written here
    )
    environment.filters |= {"tex": escape_latex, "md": escape_markdown}
    return environment
