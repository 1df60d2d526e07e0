"""`pfedfrz dataset`."""

from __future__ import annotations

import click
import msgspec

__all__ = ["command"]


@click.command("dataset")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, as_json: bool) -> None:
    """Fetch dataset NAME, check it, and say what it holds.

    NAME is mnist, fashion-mnist, emnist-balanced, emnist-letters, emnist-byclass, digits,
    npz:PATH or folder:PATH. What was fetched is kept for the next time; a large download that was
    interrupted is gone on with. emnist-balanced:PATH takes EMNIST's gzip.zip, or a folder with its
    files.

    \b
    Examples:
      pfedfrz dataset mnist
      pfedfrz dataset emnist-balanced:gzip.zip
    """
    from pfedfrz_emulator.datasets import load_dataset

    dataset = load_dataset(name, input_shape=None, cache_dir=None, progress=_Tenths())
    train, test = len(dataset.train_y), len(dataset.test_y)
    if as_json:
        facts = {
            "name": dataset.name,
            "train": train,
            "test": test,
            "classes": dataset.classes,
            "sample_shape": dataset.sample_shape,
            "source": dataset.source,
            "notes": dataset.notes,
        }
        click.echo(msgspec.json.encode(facts))
        return
    shape = "x".join(map(str, dataset.sample_shape))
    lines = [
        f"{dataset.name}: {train} training and {test} test samples of {shape}, "
        f"{dataset.classes} classes, from {dataset.source}",
        *(f"note: {note}" for note in dataset.notes),
    ]
    click.echo("\n".join(lines))


class _Tenths:
    """Tells of a download on standard error, each time when another tenth has come."""

    def __init__(self) -> None:
        self._told: tuple[str, int] | None = None

    def __call__(self, file: str, done: int, whole: int) -> None:
        tenths = 10 * done // max(1, whole)
        if (file, tenths) != self._told:
            self._told = (file, tenths)
            click.echo(f"{file}: {done / 1e6:.1f} of {whole / 1e6:.1f} MB", err=True)
