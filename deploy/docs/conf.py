"""How Sphinx makes the site; ``deploy.docs.stage`` lays out its pages."""

from importlib.metadata import version as version_of

project = "Sfumato"
author = "the Sfumato authors"
copyright = "2026 the Sfumato authors"
release = version = version_of("sfumato")
language = "en"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns: list[str] = []
myst_heading_anchors = 4
highlight_language = "text"
smartquotes = False  # it makes one dash of the two before an option

html_theme = "furo"
html_title = "Sfumato"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_copy_source = False
html_use_index = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
