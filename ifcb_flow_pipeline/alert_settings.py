"""Who is alerted, when, and where: one file in TOML, kept apart as its addresses hold passwords and tokens.

An address is never shown: messages name its service and its number in the file.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, time, timedelta, tzinfo
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.review.alerting import Rules
from ifcb_flow_pipeline.store.alert_log import Audience

#: What the file may say, and the list of people that addresses belong to.
_LISTS: Mapping[str, Audience] = {"addresses": "first", "escalation_addresses": "second"}
_NUMBERS = ("bad_bins", "remind_hours", "escalate_hours", "stuck_hours", "disk_free_percent")
_TEXTS = ("quiet_hours", "daily_digest", "time_zone")


class AlertSettingsError(FlowError):
    """A file of alert settings that cannot be used; the message names the file, the setting and the remedy."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One address. ``id``: tells it from others without telling it; ``name``: what it is called in messages."""

    id: str
    name: str
    audience: Audience
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Where messages go, and the rules that they follow."""

    channels: tuple[Channel, ...]
    rules: Rules


def read_alert_settings(path: Path) -> AlertSettings:
    """The settings that a file holds. Raises AlertSettingsError, which names file and setting but no address."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AlertSettingsError(f"{path} cannot be read ({error.strerror}): set IFCB_ALERTS_FILE right") from error
    except ValueError as error:
        # What stands there may be a password: where it stands has to do.
        place = str(error).rpartition("(")[2].rstrip(")")
        raise AlertSettingsError(f"{path} is no TOML file ({place})") from None
    known = (*_LISTS, *_NUMBERS, *_TEXTS)
    if unknown := [name for name in content if name not in known]:
        raise AlertSettingsError(f"{path}: {unknown[0]!r} is no setting; there are {', '.join(known)}")
    channels = [
        one for name, audience in _LISTS.items() for one in _channels(path, name, content.get(name, []), audience)
    ]
    if not any(one.audience == "first" for one in channels):
        raise AlertSettingsError(f"{path}: name at least one address in addresses")
    return AlertSettings(tuple(channels), _rules(path, content, any(one.audience == "second" for one in channels)))


def _channels(path: Path, name: str, addresses: Any, audience: Audience) -> list[Channel]:
    if not isinstance(addresses, list) or not all(isinstance(one, str) and "://" in one for one in addresses):
        raise AlertSettingsError(f"{path}: {name} must be a list of addresses such as ntfy://TOPIC or mailto://...")
    return [
        Channel(
            sha256(f"{audience} {url}".encode()).hexdigest()[:12],
            f"{url.partition('://')[0]} (number {number} of {name})",
            audience,
            url,
        )
        for number, url in enumerate(addresses, start=1)
    ]


def _rules(path: Path, content: Mapping[str, Any], with_second: bool) -> Rules:
    zone = _zone(path, content.get("time_zone", "UTC"))
    escalate = _number(path, content, "escalate_hours", 4, 1 / 60)
    remind = _number(path, content, "remind_hours", 24, 0)
    return Rules(
        bad_bins=int(_number(path, content, "bad_bins", 2, 1)),
        remind_after=timedelta(hours=remind) if remind else None,
        escalate_after=timedelta(hours=escalate) if with_second else None,
        stuck_after=timedelta(hours=_number(path, content, "stuck_hours", 6, 1 / 60)),
        free_share=_number(path, content, "disk_free_percent", 5, 0) / 100,
        quiet=_span(path, content.get("quiet_hours")),
        digest=_time(path, "daily_digest", content["daily_digest"]) if "daily_digest" in content else None,
        zone=zone,
    )


def _number(path: Path, content: Mapping[str, Any], name: str, default: float, least: float) -> float:
    value = content.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 10_000:
        raise AlertSettingsError(f"{path}: {name} must be a number from {least:.2g} on, such as {default}")
    return float(value)


def _zone(path: Path, name: Any) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise AlertSettingsError(f"{path}: time_zone must be a name such as Europe/Stockholm or UTC") from None


def _span(path: Path, text: Any) -> tuple[time, time] | None:
    if text is None:
        return None
    first, dash, last = str(text).partition("-")
    if not dash:
        raise AlertSettingsError(f'{path}: quiet_hours must be two times such as "22:00-06:00"')
    return _time(path, "quiet_hours", first), _time(path, "quiet_hours", last)


def _time(path: Path, name: str, text: Any) -> time:
    try:
        found = time.fromisoformat(str(text).strip())
    except ValueError:
        raise AlertSettingsError(f'{path}: {name} must have times such as "07:00", in quotes') from None
    return found.replace(tzinfo=None)
