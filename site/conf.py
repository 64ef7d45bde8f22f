"""Sphinx's settings for the site, which `make site` builds (site/build.py)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "The Artifact Registry workbook"
author = "the authors of the workbook"
language = "en"

extensions = ["myst_nb", "finish"]
root_doc = "index"
nitpicky = True
smartquotes = False  # quotes and dashes stay as they are written

# The notebooks are shown with the outputs that `make record` stored.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions: list[str] = []  # no dollar signs as formulas: they are shell variables here
myst_heading_anchors = 4

html_theme = "furo"
html_title = "Artifact Registry workbook"
html_static_path = ["static"]
html_css_files = ["workbook.css"]
html_js_files = ["copy.js"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False  # the front page names the license
html_use_index = False  # of Python objects; there are none
# Styles with enough contrast for WCAG AA, in light and dark mode.
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b57d0", "color-brand-content": "#0b57d0"},
    "dark_css_variables": {"color-brand-primary": "#a8c7fa", "color-brand-content": "#a8c7fa"},
}
