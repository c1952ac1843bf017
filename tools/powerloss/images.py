"""The images that a cut may leave, by name."""

import random
from collections.abc import Callable, Mapping

from tools.powerloss.journal import unnoticed, without_sector
from tools.powerloss.steps import FOLDERS
from tools.powerloss.volume import File, Image, NameChange, Volume, sized, synced, torn, written

SYSTEMATIC = ("none", "all", "names", "names+sizes", "bytes")
"""What survives without fsync: nothing; everything; names without bytes; names and sizes; bytes without names."""

DISKS = ("spool", *FOLDERS.values())
"""The folders that may lie on disks of their own."""

WITHOUT_INDEX = ("none, no index", "all, no index", "names, no index")
"""Some of them once more, with the index gone altogether: what was pushed is rebuilt from the shards."""


_LESS = ("none", "names", "names+sizes", "bytes", "random-0")
APART = (
    *(f"spool all, share {what}" for what in _LESS),
    *(f"spool {what}, share all" for what in _LESS),
)
"""The spool and the folder that it delivers to on two disks, of which only one loses its power."""
THREE_APART = (*APART, *(f"spool all, other {what}" for what in _LESS))
"""The same with two folders, each on a disk of its own."""


def apart(images: Mapping[str, Image]) -> Image:
    """What one cut has left of the first disk, and others of the others; by the first part of their names."""
    names: dict[str, int | None] = {}
    contents: dict[int, bytes] = {}
    for disk, image in images.items():
        kept = {name: ino for name, ino in image.names.items() if name.split("/")[0] == disk}
        names |= kept
        contents |= {ino: image.contents[ino] for ino in kept.values() if ino is not None}
    return Image(names=names, contents=contents)


def without_index(image: Image) -> Image:
    """The image, its index and the index's journal gone."""
    names = {name: ino for name, ino in image.names.items() if not name.startswith("spool/index.sqlite3")}
    return Image(names=names, contents=image.contents)


def image_of(volume: Volume, choice: str, seed: str) -> Image:
    """The image of a choice.

    Args:
        volume: at the cut.
        choice: one of `SYSTEMATIC`, `WITHOUT_INDEX` or `THREE_APART`; ``random-N`` drawn from the seed; or
            ``sector-N``: everything survives but one sector, drawn from the seed; ``unnoticed-N`` is the same
            with one of the sectors that `tools.powerloss.journal` finds.
        seed: what decides.
    """
    if choice in WITHOUT_INDEX:
        return without_index(image_of(volume, choice.partition(",")[0], seed))
    if choice in THREE_APART:
        what = dict.fromkeys(DISKS, "all") | dict(part.split() for part in choice.split(", "))
        return apart({disk: image_of(volume, left, seed) for disk, left in what.items()})
    if choice in SYSTEMATIC:
        how = {"none": synced, "all": written, "names": synced, "names+sizes": sized, "bytes": written}[choice]
        return volume.image(keep=lambda _: choice not in ("none", "bytes"), content=how)
    chance = random.Random(f"{seed}:{choice}")  # noqa: S311 - chosen to be repeatable
    if choice.startswith("sector-"):
        waiting = [file for file in volume.files.values() if file.pending]
        one = chance.choice(waiting) if waiting else None
        return volume.image(
            keep=lambda _: True,
            content=lambda file: torn(file, chance, "all but one") if file is one else written(file),
        )
    if choice.startswith("unnoticed-"):
        found = unnoticed(volume)
        torn_one, start = chance.choice(found) if found else (None, 0)
        return volume.image(
            keep=lambda _: True,
            content=lambda file: without_sector(file, start) if file is torn_one else written(file),
        )
    keep = _names(volume, chance)

    def content(file: File) -> bytes:
        pick = chance.choice((synced, written, sized, None))
        return torn(file, chance) if pick is None else pick(file)

    return volume.image(keep=keep, content=content)


def _names(volume: Volume, chance: random.Random) -> Callable[[NameChange], bool]:
    """Which names survive: any, those up to a moment as in a journal of metadata, all but one, or one alone."""
    pending = [id(change) for change in volume.pending]
    pattern = chance.choice(("any", "any", "in order", "all but one", "one"))
    if pattern == "any" or not pending:
        likely = chance.choice((0.1, 0.5, 0.9))
        return lambda _: chance.random() < likely
    one = chance.randrange(len(pending))
    kept = {"in order": pending[:one], "all but one": pending[:one] + pending[one + 1 :], "one": [pending[one]]}
    chosen = set(kept[pattern])
    return lambda change: id(change) in chosen
