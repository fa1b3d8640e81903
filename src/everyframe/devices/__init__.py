"""Does a model fit a device, and what mends it if not? No torch.

In the order in which a model passes through: `profile` (what a device takes, from profiles/*.toml) -> `engines` (targets that
are engines of ours) -> `nodes` (what a model asks for) -> `check` (what does not fit, and why), `sound` (what nothing runs) ->
`rewrites/` (one file a
rewrite, and which findings each mends) -> `repair` (which of them, in which order) -> `prove` (the same answers, on noise and
on real frames).
"""

from __future__ import annotations

from everyframe.devices.check import Finding, Report, check
from everyframe.devices.profile import Profile, load_profile, targets
from everyframe.devices.repair import Fixed, RepairPlan, fix, plan

__all__ = ["Finding", "Fixed", "Profile", "RepairPlan", "Report", "check", "fix", "load_profile", "plan", "targets"]
