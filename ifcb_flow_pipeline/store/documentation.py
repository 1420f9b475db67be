"""What is stored and what can be set, as pages for people: ``docs/reference/tables.md`` and ``settings.md``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ifcb_flow_pipeline.store.tables import LEFT_OUT, PAST_VERDICTS, STATUSES, TABLES, VERDICTS, Column, Table


@dataclass(frozen=True, slots=True)
class Setting:
    """An environment variable. ``default``: what holds where it is not set, as Markdown."""

    name: str
    default: str
    meaning: str


#: Every setting, by what it is about.
SETTINGS: Mapping[str, tuple[Setting, ...]] = {
    "Where things are": (
        Setting(
            "IFCB_DATA_DIR",
            "`archive` in the data folder",
            "Directory of the raw bins, in any layout. It is only read. Corrected ADC files in `adcmod` beside it are "
            "used",
        ),
        Setting(
            "IFCB_FLOW_HOME",
            "`ifcb-flow-data` in the current directory",
            "Data folder: tables, models, decisions, the sensor's memory, Dagster's records, logs. `/data` in the "
            "containers",
        ),
        Setting(
            "IFCB_KERNEL_CACHE",
            "beside the code, or the user's cache folder",
            "Folder of compiled code. `ifcb-flow warm` fills it; it may be copied to any x86-64 machine with AVX2 and "
            "the same versions of this program and its libraries. Without it, the first command on a machine compiles "
            "for about 70 s of processor time. What lies in it is run: nobody else should be able to write to it. The "
            "image brings its own",
        ),
        Setting(
            "IFCB_TAXA_NETWORK",
            "`taxa/efficientnet-lite0.onnx` in the data folder",
            "File of the ready network that `ifcb-flow taxa make` writes and `ifcb-flow classify` reads, where it is "
            "there and the extra `taxa` is installed",
        ),
    ),
    "Where Dagster's records are": (
        Setting(
            "IFCB_DAGSTER_DB",
            "SQLite files in the data folder",
            "Address of a PostgreSQL database for them, such as "
            "`postgresql://dagster@db.example.org/dagster?passfile=/etc/ifcb-flow/pgpass` "
            "([how](../running.md#postgresql))",
        ),
        Setting(
            "IFCB_SCRATCH_DIR",
            "`sensor` in the data folder; where that is on a network disk, in the user's cache folder",
            "Folder, on a local disk and of this deployment alone, for what the sensor has seen. It only saves time "
            "and can be deleted",
        ),
    ),
    "Which bins, and when": (
        Setting(
            "IFCB_MIRROR",
            "none",
            "Remote archive that Dagster copies into `IFCB_DATA_DIR` every ten minutes: `https://DASHBOARD DATASET` or "
            "`s3://BUCKET/PREFIX` ([how](../mirror.md)). Not in the containers, where the archive is read-only",
        ),
        Setting(
            "IFCB_START_DAY",
            "first day with bins or results, from 2005 on",
            "First day that has a partition and can be processed, such as `2023-08-10`. Where older bins are added "
            "later, the sensor says that a restart gives them partitions",
        ),
        Setting(
            "IFCB_EXCLUDE",
            "`beads,skip,bad,temp,data_temp`",
            "Directories that hold no samples, at any depth, separated by commas. Set but empty: none are left out",
        ),
        Setting("IFCB_SETTLE_SECONDS", "120", "A file is read when it has not changed for so long (0 to 86400)"),
        Setting(
            "IFCB_READER",
            "`native`",
            "What reads ADC files: `native`, or `pyifcb`, WHOI's library, which is installed separately "
            "([how](../python.md#reading-through-pyifcb)). The image does not have it",
        ),
        Setting(
            "IFCB_CLOUD_DAYS",
            "for ever",
            "For how many days `point_clouds` keeps the points of bins whose files are in the archive, at least 28. "
            "Older ones are read from there again where they are wanted: some 3 ms a bin, against 99 kB of disk. "
            "Points of bins whose files are gone stay",
        ),
    ),
    "How features are computed": (
        Setting(
            "IFCB_FRAMES",
            "none",
            "Camera frames that differ from those of the instrument's family, such as `IFCB160=1360x1840 "
            "IFCB5=1380x1034`",
        ),
        Setting(
            "IFCB_TRIGGERS",
            "`images`",
            "Reference features: which triggers are points, `images`, or `all` as before ifcb-flow-metric 1.1.0",
        ),
        Setting("IFCB_ASPECT_RATIO", "1.36", "Reference features: what x is divided by"),
        Setting("IFCB_IMAGES_PER_BIN", "200", "Images of each bin that are looked at, spread over its run; 0: all"),
    ),
    "Addresses": (
        Setting(
            "IFCB_DASHBOARD_URL",
            "none",
            "Address of the IFCB dashboard that has the same bins, for links and for `ifcb-flow handover` "
            "([how](../dashboard.md))",
        ),
        Setting(
            "IFCB_DASHBOARD_PASSWORD_FILE",
            "none",
            "File with the password of the dashboard's user, for `ifcb-flow handover`",
        ),
        Setting(
            "IFCB_DAGSTER_URL",
            "none; `ifcb-flow serve` sets it",
            "Address of Dagster's page. The review app links to it and starts jobs there",
        ),
        Setting(
            "IFCB_DAGSTER_INTERNAL_URL",
            "that of `IFCB_DAGSTER_URL`",
            "Address under which the review app itself reaches Dagster, where people's browsers know another: "
            "`http://webserver:3000` in containers, whose name then belongs into `IFCB_ALLOWED_HOSTS`",
        ),
        Setting(
            "IFCB_REVIEW_URL",
            "none; `ifcb-flow serve` sets it",
            "Address of the review app, for links from Dagster and in alerts",
        ),
        Setting(
            "IFCB_ALERTS_FILE",
            "none: nobody is alerted",
            "File with the addresses that are alerted, and the rules ([how](../alerts.md)). For the containers it is "
            "a path inside, such as `/data/alerts.toml` in the data volume",
        ),
    ),
    "Who may do what": (
        Setting(
            "IFCB_OPERATORS",
            "everyone",
            "Names of the reviewers, separated by commas, who may start jobs from the review app",
        ),
        Setting(
            "IFCB_REVIEWER_HEADER",
            "none",
            "Header in which a proxy in front of the review app sends the reviewer's name. Without it, the app asks "
            "for the name and believes no header",
        ),
        Setting(
            "IFCB_ALLOWED_HOSTS",
            "none",
            "Further host names, separated by commas, under which Dagster's page may be asked for, behind a proxy",
        ),
    ),
    "Containers only": (
        Setting("IFCB_BIND", "`127.0.0.1`", "Address that both pages listen on"),
        Setting("DAGSTER_PORT", "3000", "Port of Dagster's page"),
        Setting("APP_PORT", "8501", "Port of the review app"),
        Setting("API_PORT", "8001", "Port of the HTTP interface, where `COMPOSE_PROFILES` has `api`"),
        Setting(
            "IFCB_API_TOKEN_FILE",
            "none",
            "File with the token that requests to the HTTP interface must carry ([how](../running.md#other-programs))",
        ),
        Setting(
            "PYTHON_IMAGE",
            "the tag in `Dockerfile`",
            "Base image; see [Images by digest](../running.md#images-by-digest)",
        ),
        Setting(
            "POSTGRES_IMAGE",
            "the tag in `compose.postgres.yaml`",
            "Image of the database; see [Images by digest](../running.md#images-by-digest)",
        ),
        Setting(
            "DAGSTER_POSTGRES_PASSWORD_FILE",
            "none",
            "File with the password of the database, where there is one ([how](../running.md#postgresql))",
        ),
    ),
}


def settings_page() -> str:
    """The settings as Markdown."""
    parts = [
        "# Settings",
        "Settings are environment variables; for the containers they are lines in the file `.env` beside "
        "`compose.yaml`. They are read when a program starts. What differs from run to run, such as a training "
        "window, is set in Dagster's launchpad or by an option of the [command](commands.md).",
    ]
    for heading, settings in SETTINGS.items():
        rows = ((f"`{each.name}`", each.default, each.meaning) for each in settings)
        parts += [f"## {heading}", markdown_table(("variable", "default", "meaning"), rows)]
        if heading == "How features are computed":
            parts.append(
                "After changing one of these, process the days again and train a new model. Until then scoring and "
                "training stop with an error."
            )
    return "\n\n".join(parts) + "\n"


def tables_page() -> str:
    """The stored tables as Markdown."""
    parts = [
        "# Tables",
        "Results are Parquet files below `tables/` in the data folder, one for each table and UTC day, each replaced "
        "in one step. A bin that cannot be read stays in every table, with its `status` and the `reason`. Files of "
        "another version than the one named here are refused, with the remedy.",
        "## Statuses",
        markdown_table(("status", "meaning"), ((f"`{code}`", meaning) for code, meaning in STATUSES.items())),
        "## Verdicts",
        markdown_table(("verdict", "meaning"), ((f"`{code}`", meaning) for code, meaning in VERDICTS.items())),
    ]
    for table in (*TABLES, PAST_VERDICTS, LEFT_OUT):
        parts += [f"## `{table.name}`", f"{table.meaning} Version {table.version}.", _columns(table)]
    return "\n\n".join(parts) + "\n"


def _columns(table: Table) -> str:
    def row(column: Column) -> Sequence[str]:
        # How a text is stored is of no interest to its readers.
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        return f"`{column.name}`", str(kind), column.unit, column.meaning

    return markdown_table(("column", "type", "unit", "meaning"), map(row, table.columns))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as Markdown. Bars in texts are escaped, and line ends become spaces."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])
