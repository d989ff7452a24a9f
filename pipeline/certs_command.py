"""Driver: the command ``clustergrid certs``."""

from __future__ import annotations

import json

import click

from clustergrid.pipeline.certificates import MOST_DAYS, Certificates, make_certificates
from clustergrid.pipeline.escapes import escape_terminal
from clustergrid.pipeline.options import debug_option, json_option

__all__ = ["certs_command"]


@click.command(name="certs")
@click.argument("directory", type=click.Path(file_okay=False))
@click.option(
    "--days",
    type=click.IntRange(1, MOST_DAYS),
    default=365,
    show_default=True,
    help="How long they are good for.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="A name or IP address to write into the certificate; may be given again.",
)
@click.option(
    "--authority-key",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Keep the authority's own key in a new FILE, to sign more with; it is thrown "
    "away otherwise.",
)
@json_option
@debug_option
def certs_command(
    directory: str, days: int, hosts: tuple[str, ...], authority_key: str | None, as_json: bool
) -> None:
    """Make certificates for a Dask cluster of your own in a new DIRECTORY.

    An authority, and one certificate of it that scheduler, workers and clients share: whoever can
    read its key may run code as you. What each of them has to be told is printed.
    """
    made = make_certificates(directory, days=days, hosts=hosts, authority_key=authority_key)
    if as_json:
        print(json.dumps(_as_dict(made)))
        return
    # Comments, so that the whole of it may go into a shell.
    lines = [
        f"# ca.pem, dask.pem and dask.key are good until {made.expires:%Y-%m-%d %H:%M} UTC.",
        "# Every node reads them, and nobody else may. Scheduler, workers and clients need:",
        *made.shell_lines(),
        "# or, as a file in ~/.config/dask/:",
        *(f"# {line}" for line in made.yaml_lines()),
    ]
    click.echo("\n".join(map(escape_terminal, lines)))


def _as_dict(made: Certificates) -> dict[str, object]:
    return {
        "ca_file": str(made.ca_file),
        "cert_file": str(made.cert_file),
        "key_file": str(made.key_file),
        "authority_key_file": made.authority_key_file and str(made.authority_key_file),
        "expires": made.expires.isoformat(),
        "environment": made.environment,
    }
