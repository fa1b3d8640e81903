"""A step model in several. No torch.

In the order in which data passes through: `label` (which node belongs where; `balance`: by measured times) -> `cut` (parts,
compared with the whole and written) -> `dump` (what each stage is given, from real videos). `runtime.pipeline` runs them.
"""
