"""Boxes of cars, people on foot and on bicycles in scans of a lidar.

pillars, decode          points become what a network takes, and its answer boxes
detector, draw, apply    a model over scans; a scan from above; files and sequences
metrics, evaluate        KITTI's average precision
scans                    which of them a training sees
network, scenes, objective, export, run    the network, its training, and the finished model (torch)
choices, grids, searched                 what a search of it chooses from, and how its supernet is trained (torch)
"""
