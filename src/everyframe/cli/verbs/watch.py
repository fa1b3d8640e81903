"""everyframe watch: many cameras, for months."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    cameras: Annotated[
        Path | None, typer.Argument(metavar="CAMERAS.TOML", help="What is watched; --example writes a first one.")
    ] = None,
    metrics: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Metrics for Prometheus on this port of 127.0.0.1.", metavar="PORT")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End after so many seconds.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for all that happens: events, states, gaps.")
    ] = False,
    example: Annotated[bool, typer.Option("--example", help="Print a first CAMERAS.TOML.")] = False,
) -> None:
    """Watch cameras, and tell what happens: in files, databases, Home Assistant.

    Example: everyframe watch cameras.toml
    """
    from everyframe.live.config import EXAMPLE, read

    if example:
        typer.echo(EXAMPLE, nl=False)
        return
    if cameras is None:
        from everyframe.errors import UsageError

        raise UsageError(
            "What is to be watched?", expected="everyframe watch CAMERAS.TOML",
            hint="`everyframe watch --example > cameras.toml` writes a first one",
        )  # fmt: skip

    import signal

    from everyframe.cli.show.cameras import choose, summary
    from everyframe.live import metrics as prometheus
    from everyframe.live.watch import Watch

    watch = Watch(read(cameras))
    before = signal.signal(signal.SIGTERM, lambda *_: watch.stop())
    server = None
    try:
        if metrics is not None:
            server = prometheus.MetricsServer(metrics, lambda: prometheus.text(watch.statuses, watch.counts, watch.lost))
            typer.echo(f"metrics: http://127.0.0.1:{server.port}/metrics", err=True)
        with choose(watch, as_json=as_json) as view:
            try:
                with watch:
                    for said in watch.said(seconds):
                        view.show(said)
            finally:
                for said in watch.rest():
                    view.show(said)
    finally:
        watch.close()
        if server is not None:
            server.close()
        signal.signal(signal.SIGTERM, before)
        typer.echo(summary(watch), err=as_json)
