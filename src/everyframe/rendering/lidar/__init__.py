"""What a lidar on a car would see in a street, with its truth, scan by scan.

shapes   boxes, cylinders and ellipsoids that rays meet
actors   cars, vans, trucks, people on foot and on bicycles, of shapes
street   where they stand and how they move; ground, walls, trees, poles
sensor   rays, what they meet first, noise and what is lost
folder   scans and sequences in KITTI's folders
"""
