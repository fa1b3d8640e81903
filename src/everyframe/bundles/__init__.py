"""A folder that a board's own tools take: model, calibration, settings, a program to run there, and the commands. No torch.

In the order in which data passes through: `targets` (what each target gets, one row each) -> `job` (what is made of what) ->
`samples` (inputs from real videos, states carried along) -> `copies` (code of prediction that goes along) -> `convert` (formats
of runtimes, by their own converters) -> `stages` (for devices that keep no state), `web` (a page with the network in it;
`teachable`: what it takes to learn there; `inline`: as one file) -> `make` (all of it, whole or not at all). `templates/` holds
what is copied or filled in; no code of ours runs it.
"""

from __future__ import annotations

from everyframe.bundles.make import Bundle, bundle, page
from everyframe.bundles.targets import TARGETS

__all__ = ["TARGETS", "Bundle", "bundle", "page"]
