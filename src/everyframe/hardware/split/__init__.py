"""A step model in several: `label` (which node belongs where) -> `cut` (parts with inputs and outputs) -> `write` (the folder)."""
