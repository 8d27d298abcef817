"""Settings of the documentation site: python -m sphinx -W examples/site build/site."""

import pathlib
import sys

import jaxdpmm

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

import api  # noqa: E402

project = "jaxdpmm"
version = release = jaxdpmm.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["api.py", "conf.py"]
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds per cell
napoleon_use_ivar = True
napoleon_attr_annotations = False
autodoc_class_signature = "separated"
autodoc_member_order = "bysource"


def setup(app):
    """Write the API's pages, and read docstrings as they are written here: plain text with names in backticks."""
    app.connect("builder-inited", lambda app: api.write(HERE / "api"))
    app.connect("autodoc-process-docstring", lambda *given: api.plain(given[-1]), priority=400)
