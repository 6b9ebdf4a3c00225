"""Writes the cards of the weights that come with the package again, and their checksums.

Usage: python -m tools.pretrained_cards

After a change of the card's text. Everything in a card is in the other files of its folder.
"""

from __future__ import annotations

from std_keras.runs import pretrained
from std_keras.runs.packing import card
from std_keras.runs.run_directory import RunDirectory
from tools import no_flags


def main() -> None:
    """Writes every card, and prints which changed."""
    for name in pretrained.names():
        path = pretrained.folder() / name
        text = card.of_folder(RunDirectory(path), name=name)
        file = path / "README.md"
        if file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            print(file)
        pretrained.write_checksums(path)


if __name__ == "__main__":
    no_flags.read(__doc__, program="python -m tools.pretrained_cards")
    main()
