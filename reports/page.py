"""What every HTML page is made by: one frame, one set of templates, and every text made fit before it is escaped."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from lockjaw import __version__

from .html_strings import excerpt, folder_shortener

__all__ = ["MAX_TEXT", "render", "source"]

MAX_TEXT = 800  # characters of one text outside a data block, so that 150 steps of it leave the page below 2 MB


def render(template: str, **values: Any) -> str:
    """A page. Anything may stand in the values: they are escaped."""
    return _environment().get_template(template).render(values, version=__version__)


def source(name: str) -> str:
    """A template, style sheet or script of ours, as it stands."""
    return (resources.files("lockjaw.reports") / "templates" / name).read_text(encoding="utf-8")


def _shown(value: Any) -> Any:
    """Every text that a template writes, on its way to be escaped; Markup is our own and stays as it is."""
    return excerpt(value, MAX_TEXT, str) if type(value) is str else value


def _breakable(text: str) -> Markup:
    """As every text is shown and escaped; a narrow page may break a long name behind an underscore."""
    return escape(_shown(text)).replace("_", Markup("_<wbr>"))


@cache
def _environment() -> Environment:
    # Not PackageLoader: it cannot find a package whose folder is mapped by an editable install.
    environment = Environment(
        loader=FunctionLoader(source), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_shown,
        optimized=False,  # compiling a template takes as long as all the pages that a command renders of it
    )  # fmt: skip
    environment.filters["breakable"] = _breakable
    environment.globals["short"] = lambda text, run_dir: folder_shortener(run_dir)(text)
    return environment
