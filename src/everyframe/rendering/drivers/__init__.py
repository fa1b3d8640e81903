"""Drivers in front of a dashboard camera, in the order in which data passes through the modules.

acts   what a driver does: lids, mouth and head over time, with spans of what is to be recognized
face   how that looks: signed distances to ellipses and capsules turned into gray values
scene  a face in a car, seen by a camera: (frames, height, width) uint8 with its truth
"""

from everyframe.rendering.drivers.acts import LABELS

__all__ = ["LABELS"]
