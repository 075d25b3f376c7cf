"""``secure-xcom audit index``: index files of the access log, and the options of what searches with the index."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit import progress_bar
from secure_xcom.cli.audit.locations import Place, SinkOption

if TYPE_CHECKING:
    from secure_xcom.ops.audit_trail.pieces import Piece, Source
    from secure_xcom.ops.audit_trail.search.index import Index

IndexOption = Annotated[
    Path | None,
    typer.Option(
        "--index-file",
        metavar="FILE",
        help="Default: AIRFLOW_HOME/secure_xcom/state/audit-index.sqlite.",
    ),
]
NoIndexOption = Annotated[bool, typer.Option("--no-index", help="Read the whole log.")]


def index(
    index_file: IndexOption = None,
    dry_run: options.DryRun = False,
    sink: SinkOption = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Index what was added to the files of the access log, so that searches read only parts of them.

    Files that were rotated away and deleted are removed from the index. Objects and databases are not indexed.
    """
    from secure_xcom.ops.audit_trail.search.index import Index
    from secure_xcom.ops.jobs.gc_inventory import locked

    sources = Place(config, sinks=sink).sources()
    path = _path(index_file)
    with ExitStack() as stack:
        tell = stack.enter_context(progress_bar.shown(wanted=not as_json))
        if dry_run:
            opened = stack.enter_context(closing(Index(path, create=False))) if path.exists() else None
            files, done = _added(sources, lambda uri, piece: opened.pending(uri, piece) if opened else piece.size)
            left = done
        else:
            stack.enter_context(locked(path))
            opened = stack.enter_context(closing(Index(path)))
            files, done = _added(sources, opened.update, tell)
            for source in sources:
                opened.forget_others(source.uri, source.pieces())
            _, left = _added(sources, opened.pending)
    if as_json:
        record = {"index": str(path), "files": files, "indexed_bytes": 0 if dry_run else done, "left_bytes": left}
        output.show_json({**record, "dry_run": dry_run})
    else:
        print(f"{done} bytes of {files} files {'would be' if dry_run else 'were'} indexed: {output.clean(path)}")
        if left and not dry_run:
            print(f"{left} bytes are still searched line by line, such as a line that is being written")
    raise typer.Exit(output.FOUND_SOMETHING if dry_run and done else output.FINE)


def _added(
    sources: Sequence[Source],
    index: Callable[[str, Piece], int],
    tell: Callable[[str, int, int], None] = lambda *_: None,
) -> tuple[int, int]:
    """Index each file, and return how many there are and how many bytes were added."""
    files = done = 0
    for source in sources:
        pieces = [piece for piece in source.pieces() if piece.status is not None]
        read, total = 0, sum(piece.size for piece in pieces)
        for piece in pieces:
            files += 1
            done += index(source.uri, piece)
            read += piece.size
            tell(source.uri, read, total)
    return files, done


@contextmanager
def searched(path: Path | None, *, without: bool) -> Iterator[Index | None]:
    """Yield the index to search with, or None; one that cannot be used is named on standard error."""
    from secure_xcom.core.operator_errors import StateInvalid
    from secure_xcom.ops.audit_trail.search.index import Index

    chosen = _path(path)
    if without or (path is None and not chosen.exists()):
        yield None
        return
    try:
        opened = Index(chosen, create=False)
    except StateInvalid as error:
        print(f"the whole log is read: {output.clean(error)}", file=sys.stderr)
        yield None
        return
    try:
        yield opened
    finally:
        opened.close()


def _path(path: Path | None) -> Path:
    from secure_xcom.ops.jobs.gc_inventory import default_folder

    return path or default_folder() / "audit-index.sqlite"
