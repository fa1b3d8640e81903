"""Scans of a lidar and the boxes in them.

points   scans as files hold them: (n, 4) x, y, z, reflectance
overlap  boxes on the ground and in space, and how much of them two have in common, exactly
objects  labeled objects as KITTI writes them, in the camera's coordinates, and as boxes in the lidar's
kitti    KITTI's folders, of single scans and of sequences

The lidar's coordinates: x ahead, y to the left, z up, in meters. A box is (x, y, z, length, width, height, yaw): its center, its
sides, and how far it is turned about z from x towards y, in radians.
"""
