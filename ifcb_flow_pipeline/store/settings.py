"""Where things are and how bins are read: the settings of a deployment, from environment variables.

``store.documentation`` lists them for people. Everything that is set once for all users of a deployment is here; what
may differ from run to run (a training window, say) is configuration of the asset or an option of the command.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TypeVar

from ifcb_flow_pipeline.bins.archive import DEFAULT_EXCLUDED
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.cloud import DEFAULT_ASPECT_RATIO
from ifcb_flow_pipeline.features.extract import FeatureSettings, Triggers
from ifcb_flow_pipeline.features.images.extract import IMAGES_PER_BIN
from ifcb_flow_pipeline.store.archive import DEFAULT_SETTLE, READERS, Archive
from ifcb_flow_pipeline.store.database import Database, database_of

_Choice = TypeVar("_Choice", bound=str)

DEFAULT_HOME = "ifcb-flow-data"

#: New models are compared with the one in use on the clouds of so many days.
LEAST_CLOUD_DAYS = 28

#: Before the first IFCB of 2005 wrote anything.
DEFAULT_START_DAY = date(2005, 1, 1)


class SettingsError(FlowError, ValueError):
    """A setting that cannot be used; the message names the variable and the remedy."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a deployment; ``home`` is the folder that everything is written to, ``images_per_bin``: how many
    images of each bin are looked at, 0 for all.

    ``cloud_days``: for how many days point clouds are kept whose bins can be read again, None for ever.
    ``dashboard_url``: address of the IFCB dashboard that has the same bins; ``dagster_url``, ``review_url``: those of
    this deployment's Dagster and review app, as people's browsers know them; ``dagster_internal_url``: Dagster's as the
    review app reaches it, where that is another. None of them ends with a slash. ``scratch``: a folder on a local disk
    for what can be found again, None for one that fits ``home``; ``database``: where Dagster's records are, None for
    SQLite files in ``home``; ``taxa_network_file``: of the ready network, where it is not in ``home``;
    ``alerts_file``: who is alerted, None where nobody is; ``mirror``: of what the archive is a copy, None where it is
    none.
    """

    archive: Archive
    home: Path
    start_day: date
    features: FeatureSettings
    cloud_days: int | None = None
    dashboard_url: str | None = None
    dagster_url: str | None = None
    dagster_internal_url: str | None = None
    review_url: str | None = None
    images_per_bin: int = IMAGES_PER_BIN
    alerts_file: Path | None = None
    mirror: str | None = None
    scratch: Path | None = None
    database: Database | None = None
    taxa_network_file: Path | None = None

    @property
    def taxa_network(self) -> Path:
        """The file of the ready network, whether it has been made or not."""
        return self.taxa_network_file or self.home / "taxa" / "efficientnet-lite0.onnx"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the IFCB_* variables. Raises SettingsError, naming the variable, for a value without meaning."""
        home = Path(environment.get("IFCB_FLOW_HOME") or DEFAULT_HOME).absolute()
        data_dir, scratch = environment.get("IFCB_DATA_DIR"), environment.get("IFCB_SCRATCH_DIR")
        return cls(
            archive=Archive(
                root=Path(data_dir).absolute() if data_dir else home / "archive",
                exclude=_names(environment, "IFCB_EXCLUDE", DEFAULT_EXCLUDED),
                settle=_seconds(environment, "IFCB_SETTLE_SECONDS", DEFAULT_SETTLE),
                reader=_choice(environment, "IFCB_READER", READERS),
            ),
            home=home,
            start_day=start_day(environment),
            features=_features(environment),
            cloud_days=_cloud_days(environment),
            dashboard_url=_address(environment, "IFCB_DASHBOARD_URL"),
            dagster_url=_address(environment, "IFCB_DAGSTER_URL"),
            dagster_internal_url=_address(environment, "IFCB_DAGSTER_INTERNAL_URL"),
            review_url=_address(environment, "IFCB_REVIEW_URL"),
            images_per_bin=_images_per_bin(environment),
            alerts_file=Path(alerts).absolute() if (alerts := environment.get("IFCB_ALERTS_FILE")) else None,
            mirror=environment.get("IFCB_MIRROR", "").strip() or None,
            scratch=Path(scratch).absolute() if scratch else None,
            database=database_of(environment),
            taxa_network_file=Path(network).absolute() if (network := environment.get("IFCB_TAXA_NETWORK")) else None,
        )


def start_day(environment: Mapping[str, str]) -> date:
    """The first day that has a partition (IFCB_START_DAY). Raises SettingsError where it is no day."""
    text = environment.get("IFCB_START_DAY")
    if not text:
        return DEFAULT_START_DAY
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"IFCB_START_DAY is {text!r}; it must be a day such as 2023-08-10") from None


def allowed_hosts(environment: Mapping[str, str]) -> frozenset[str]:
    """Further names under which Dagster's page may be asked for (IFCB_ALLOWED_HOSTS), in small letters."""
    return frozenset(name.lower() for name in _names(environment, "IFCB_ALLOWED_HOSTS", frozenset()))


def _names(environment: Mapping[str, str], variable: str, default: frozenset[str]) -> frozenset[str]:
    text = environment.get(variable)
    if text is None:
        return default
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _cloud_days(environment: Mapping[str, str]) -> int | None:
    text = environment.get("IFCB_CLOUD_DAYS")
    if not text:
        return None
    if not text.strip().isdecimal() or int(text) < LEAST_CLOUD_DAYS:
        raise SettingsError(
            f"IFCB_CLOUD_DAYS is {text!r}; it must be a whole number of days, at least {LEAST_CLOUD_DAYS}, in which "
            "faults are planted to compare models"
        )
    return int(text)


def _seconds(environment: Mapping[str, str], variable: str, default: timedelta) -> timedelta:
    text = environment.get(variable)
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not 0 <= seconds <= 86_400:
        raise SettingsError(f"{variable} is {text!r}; it must be a number of seconds from 0 to 86400")
    return timedelta(seconds=seconds)


def dashboard_address(text: str) -> str:
    """An address of a dashboard as IFCB_DASHBOARD_URL has it. Raises SettingsError for one without meaning."""
    return _address({"the dashboard": text}, "the dashboard") or ""


def _address(environment: Mapping[str, str], variable: str) -> str | None:
    text = environment.get(variable, "").strip()
    if text and not re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w./~-]*)?", text, re.ASCII):
        raise SettingsError(f"{variable} is {text!r}; it must be an address such as https://ifcb-data.whoi.edu")
    return text.rstrip("/") or None


def _choice(environment: Mapping[str, str], variable: str, choices: tuple[_Choice, ...]) -> _Choice:
    text = environment.get(variable) or choices[0]
    for choice in choices:
        if text == choice:
            return choice
    raise SettingsError(f"{variable} is {text!r}; it must be one of {', '.join(choices)}")


def _images_per_bin(environment: Mapping[str, str]) -> int:
    text = environment.get("IFCB_IMAGES_PER_BIN") or str(IMAGES_PER_BIN)
    if not re.fullmatch(r"\d{1,7}", text, re.ASCII):
        raise SettingsError(
            f"IFCB_IMAGES_PER_BIN is {text!r}; it must be a whole number such as 200, or 0 for all images"
        )
    return int(text)


def _features(environment: Mapping[str, str]) -> FeatureSettings:
    ratio = environment.get("IFCB_ASPECT_RATIO") or str(DEFAULT_ASPECT_RATIO)
    frames = environment.get("IFCB_FRAMES") or ""
    triggers: Triggers = _choice(environment, "IFCB_TRIGGERS", ("images", "all"))
    try:
        settings = FeatureSettings(triggers, float(ratio))
    except ValueError:
        raise SettingsError(f"IFCB_ASPECT_RATIO is {ratio!r}; it must be a positive number such as 1.36") from None
    try:
        return replace(settings, frames=frames)
    except ValueError as error:
        raise SettingsError(f"IFCB_FRAMES is {frames!r}; {error}") from None
