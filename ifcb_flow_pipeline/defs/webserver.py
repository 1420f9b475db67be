"""Dagster's web server behind the guard: ``python -m ifcb_flow_pipeline.defs.webserver``, with its usual options."""

import functools
import os
from typing import Any

from dagster_webserver import cli

from ifcb_flow_pipeline.defs.guard import OWN_HOSTS, Guard
from ifcb_flow_pipeline.store.settings import allowed_hosts

#: What the command makes its application with: Dagster has no place of its own where something could be put around it.
_MAKE = "create_app_from_workspace_process_context"


def main() -> None:
    """Start the web server."""
    make = getattr(cli, _MAKE)

    @functools.wraps(make)
    def guarded(*arguments: Any, **options: Any) -> Any:
        return Guard(make(*arguments, **options), OWN_HOSTS | allowed_hosts(os.environ))

    setattr(cli, _MAKE, guarded)
    cli.main()


if __name__ == "__main__":
    main()
