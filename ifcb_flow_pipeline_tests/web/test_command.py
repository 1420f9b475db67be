"""``ifcb-flow api``: what it starts, and what it refuses."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from ifcb_flow_pipeline.cli import main
from ifcb_flow_pipeline.web import server


def test_it_listens_on_this_machine_for_the_deployment_of_the_environment(monkeypatch, tmp_path: Path):
    started: list[Any] = []

    def made(settings: Any, *where: Any) -> Any:
        return SimpleNamespace(run=lambda: started.append((settings.home, *where)))

    monkeypatch.setattr(server, "server", made)
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path))
    monkeypatch.setenv("IFCB_ALLOWED_HOSTS", "ifcb.example")
    result = CliRunner().invoke(main, ["api"])
    assert (result.exit_code, started) == (0, [(tmp_path, "127.0.0.1", 8001, None, {"ifcb.example"})])
    assert "127.0.0.1, port 8001" in result.output


@pytest.mark.parametrize("host", ["0.0.0.0", "ifcb.example"])  # noqa: S104 - refused
def test_it_refuses_in_one_line_to_listen_to_others_without_a_token(host: str):
    result = CliRunner().invoke(main, ["api", "--host", host])
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert "--token-file" in line
