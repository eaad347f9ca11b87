"""The run as one HTML file that a mail can carry: no script, no network, readable on paper and by a screen reader.

Everything that the template prints is cleaned of characters that act on the text around them, bounded in length, and
escaped. The page's own policy (CSP) allows one style sheet, by its hash, and nothing else: were something to slip
through, a browser would neither run it nor load it.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TextIO

from hostaudit.report._text import NAME, clean, line
from hostaudit.report.page.view import view

if TYPE_CHECKING:
    from jinja2 import Template

    from hostaudit.model import Run
    from hostaudit.report import Style
    from hostaudit.report.page.context import Context


def render(run: Run, out: TextIO, style: Style, context: Context) -> None:
    """Write the page."""
    from markupsafe import Markup

    sheet = _file("style.css")
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    page = _template().render(view(run, style, context), sheet=Markup(sheet), policy=Markup(policy))  # noqa: S704 - ours
    out.write(page.rstrip() + "\n")


@cache
def _template() -> Template:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_file),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printed,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = lambda name: line(name, NAME)
    return environment.get_template("page.html")


def _printed(value: Any) -> Any:
    """Clean every text that the template prints; markup that we made ourselves stays."""
    from markupsafe import Markup

    return clean(str(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def _file(name: str) -> str:
    return files("hostaudit.report.page").joinpath("templates", name).read_text(encoding="utf-8")
