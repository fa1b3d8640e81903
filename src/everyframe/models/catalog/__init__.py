"""What is in the zoo: names, published shapes, preprocessing and sources, as data (no torch needed to read it).

One file per project whose checkpoints load by name: pytorchvideo.py, torchvision.py, efficient.py (Efficient-3DCNNs),
authors.py (networks released by the authors of their papers), own.py (ours). Preprocessing is that of the published
checkpoints, at evaluation. `fps` is the rate at which they saw frames: a clip of T frames taken every n-th frame of
30 fps video was seen at 30/n fps, whatever the camera's own rate.
"""

from everyframe.models.catalog import authors, efficient, movinet, own, pytorchvideo, torchvision

__all__ = ["authors", "efficient", "movinet", "own", "pytorchvideo", "torchvision"]
