"""`glmtts serve`."""

from pathlib import Path
from typing import Any

import click

from glmtts.cli.options import DEVICE, MODEL, PATH


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True)
@MODEL
@DEVICE
@click.option("--dtype", default="auto", show_default=True, help="As for `Synthesizer.load`.")
@click.option("--running", default=8, show_default=True, help="Texts spoken at once.")
@click.option("--waiting", default=32, show_default=True, help="Texts that may wait; then 429.")
@click.option("--per-key", default=8, show_default=True, help="Texts of one key at once.")
@click.option("--per-minute", default=0, show_default=True, help="Of one key; 0 for any number.")
@click.option("--deadline", default=600.0, show_default=True, help="Seconds a text may take.")
@click.option("--drain", default=30.0, show_default=True, help="Seconds for the rest on SIGTERM.")
@click.option("--workers", default=1, show_default=True, help="Sounds computed at once.")
@click.option("--data", type=PATH, help="Folder of database, voices, jobs and keys.")
@click.option("--key-file", type=PATH, help="File of keys; keys in the data folder if absent.")
@click.option("--add-key", metavar="NAME", help="Make a key, print it once, and exit.")
@click.option("--remove-key", metavar="NAME", help="Take a key away, and exit.")
@click.option("--host-name", "hosts", multiple=True, help="Name it may be called by; repeatable.")
@click.option("--origin", "origins", multiple=True, help="Web origin that may use it; repeatable.")
@click.option("--fetch-host", "fetch", multiple=True, help="Host clips may be fetched from.")
@click.option("--wyoming", type=int, metavar="PORT", help="Speak the Wyoming protocol too.")
@click.option("--page/--no-page", default=True, show_default=True, help="Serve the web page.")
@click.option("--mark/--no-mark", default=True, show_default=True,
              help="Say in the metadata of sound that a machine made it.")  # fmt: skip
@click.option("--watermark", metavar="KEY", envvar="GLMTTS_WATERMARK",
              help="Watermark all sound with KEY, see `glmtts watermark`.")  # fmt: skip
def serve(
    host: str, port: int, model: str, device: str, dtype: str, data: Path | None,
    key_file: Path | None, add_key: str | None, remove_key: str | None, wyoming: int | None,
    workers: int, **limits: Any,
) -> None:  # fmt: skip
    """Serve speech to many: OpenAI's API, WebSocket, ElevenLabs, Wyoming, a web page.

    Beyond this machine (--host) it needs a key: `glmtts serve --add-key NAME`, or GLMTTS_API_KEY.
    """
    from glmtts.commands import serve as command

    path = command.key_path(key_file, data)
    if add_key:
        click.echo(command.add_key(add_key, path))
        return
    if remove_key:
        command.remove_key(remove_key, path)
        click.echo(f"Removed {remove_key}; restart a running server.")
        return
    settings = command.Settings(
        running=limits["running"], waiting=limits["waiting"], running_per_key=limits["per_key"],
        requests_per_minute=limits["per_minute"], deadline_s=limits["deadline"],
        drain_s=limits["drain"], data=data, hosts=limits["hosts"], origins=limits["origins"],
        fetch_hosts=limits["fetch"], page=limits["page"], mark=limits["mark"],
        watermark=limits["watermark"],
    )  # fmt: skip
    command.serve(
        command.Request(host, port, model, device, dtype, settings, key_file, wyoming, workers)
    )
