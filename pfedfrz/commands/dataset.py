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

    \b
    Example:  pfedfrz dataset mnist
    """
    from pfedfrz_emulator.datasets import load_dataset

    dataset = load_dataset(name, input_shape=None, cache_dir=None)
    facts = {
        "name": dataset.name,
        "train": len(dataset.train_y),
        "test": len(dataset.test_y),
        "classes": dataset.classes,
        "sample_shape": list(dataset.sample_shape),
        "source": dataset.source,
        "notes": list(dataset.notes),
    }
    if as_json:
        click.echo(msgspec.json.encode(facts))
        return
    shape = "x".join(map(str, dataset.sample_shape))
    click.echo(
        f"{dataset.name}: {facts['train']} training and {facts['test']} test samples of {shape}, "
        f"{dataset.classes} classes, from {dataset.source}"
    )
    for note in dataset.notes:
        click.echo(f"  {note}")
