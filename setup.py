"""What pyproject.toml cannot say: a wheel carries the review app, ``app`` in a checkout, inside the package.

Streamlit runs it as a script that finds its modules from the folder above, as ``app``. Installed for all under that
name, it would stand in the way of every other program that calls a package ``app``.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

#: Where ``ifcb_flow_pipeline.serving`` looks for it, from the folder of installed packages.
_INSTALLED = Path("ifcb_flow_pipeline", "_app", "app")


class BuildWithApp(build_py):
    """Builds the package with the review app in it; an editable install finds the app in the checkout."""

    def run(self) -> None:
        """Build the package, then add the app."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / _INSTALLED
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree("app", target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


setup(cmdclass={"build_py": BuildWithApp})
