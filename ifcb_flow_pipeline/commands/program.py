"""What all commands have in common: how the program starts, how it ends, how its errors are told."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click


def one_line(error: Exception) -> str:
    """What an error says, without line breaks."""
    return " ".join(line.strip() for line in str(error).splitlines())


@contextmanager
def errors_in_a_line() -> Iterator[None]:
    """Have foreseeable errors be one line on stderr and exit code 1."""
    from ifcb_flow_pipeline.errors import FlowError

    try:
        yield
    except FlowError as error:
        raise click.ClickException(one_line(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error


class Command(click.Command):
    """A command whose foreseeable errors are one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, as click does it."""
        with errors_in_a_line():
            return super().invoke(ctx)


class LeanCommand(Command):
    """A command that has no use for pandas. pyarrow would load it, for a quarter of a second, to see whether what it is
    given is one of its objects: as long as the command runs, it does not find it.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command without pandas, unless it is loaded already or pyifcb needs it."""
        if "pandas" in sys.modules or ctx.params.get("reader") == "pyifcb":
            return super().invoke(ctx)
        sys.meta_path.insert(0, _NoPandas)
        try:
            return super().invoke(ctx)
        finally:
            sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """Where Python looks for modules: here, pandas is not to be found."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:  # noqa: ARG004 - Python's signature
        if name == "pandas":
            raise ModuleNotFoundError(name)


class Group(click.Group):
    """Commands within a command."""

    command_class = Command
    group_class = type  # groups within are of this class, too


#: Objects are looked through for cycles after so many new ones: while hundreds of modules are loaded, Python's own
#: number makes it look again and again, for a fifth of a second in all.
_OBJECTS_BEFORE_COLLECTION = 50_000


class Program(Group):
    """All commands; called, it is the program ``ifcb-flow``, started and ended without work that nobody sees."""

    group_class = Group

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program, or, with ``standalone_mode=False``, only the command."""
        if not kwargs.get("standalone_mode", True):
            return super().__call__(*args, **kwargs)
        import gc

        gc.set_threshold(_OBJECTS_BEFORE_COLLECTION, *gc.get_threshold()[1:])
        try:
            super().__call__(*args, **kwargs)
        except SystemExit as end:
            if end.code not in (None, 0):
                raise
        return _leave()


def _leave() -> NoReturn:
    """End this process as it would end by itself, but without taking its memory apart object by object, which takes
    a third of a second once numba is loaded: the system takes it back at once.
    """
    import atexit
    import threading

    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue] - waits for threads, as Python does first
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # Python says what could not be written, and to where, and ends with a code that is not zero.
        sys.exit(0)
    os._exit(0)
