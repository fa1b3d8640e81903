"""A plugin of everyframe: one file each for an engine, an operator's rule, a device and a network."""

from pathlib import Path

BOARD = Path(__file__).with_name("board.toml")
