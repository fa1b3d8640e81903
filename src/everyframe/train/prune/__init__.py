"""Pruning a trained network by patterns that compiled models run fast (RT3D: arXiv:2007.09835), in the order of its parts.

pattern       which weights come and go together; norms and choice of these units (numpy only)
mask          what is kept, layer by layer: a value and a file (numpy only)
"""
