"""Sphinx. Builds offline: no remote theme file, no intersphinx. ``tox -e docs`` treats each warning as an error."""

from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

# Drawn where Markdown is read on the web; here its source is text, without a script from elsewhere.
lexers["mermaid"] = TextLexer()

project = "Lockjaw"
author = "the Lockjaw maintainers"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
nitpicky = True
suppress_warnings = ["myst.strikethrough"]

html_theme = "furo"
html_title = "Lockjaw"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
