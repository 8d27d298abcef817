"""Settings of the documentation site: python -m sphinx -W examples/site build/site.

Notebooks lie in `examples/notebooks` as scripts with cells, and are run when the site is built. With
`-D nb_execution_mode=off` nothing is run: pages are then checked in a fraction of the time, without outputs.
"""

import pathlib
import shutil
import sys

import jaxdpmm

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

import api  # noqa: E402

project = "jaxdpmm"
version = release = jaxdpmm.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
copyright = "The jaxdpmm authors"
html_theme = "furo"
html_title = f"jaxdpmm {version}"
exclude_patterns = ["api.py", "conf.py"]
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_merge_streams = True
nb_output_stderr = "remove"
suppress_warnings = ["myst-nb.lexer"]  # without execution no kernel tells the language
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds per cell
napoleon_use_ivar = True
napoleon_attr_annotations = False
autodoc_class_signature = "separated"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88  # longer ones have a line per parameter


def copy_notebooks():
    """Sphinx reads what lies below its own folder."""
    shutil.rmtree(HERE / "notebooks", ignore_errors=True)
    shutil.copytree(HERE.parent / "notebooks", HERE / "notebooks")


def setup(app):
    """Write the API's pages, and read docstrings as they are written here: plain text with names in backticks."""
    app.connect("builder-inited", lambda app: api.write(HERE / "api"))
    app.connect("builder-inited", lambda app: copy_notebooks())
    app.connect("autodoc-process-docstring", lambda *given: api.plain(given[-1]), priority=400)
