"""Pruning a trained network by patterns that compiled models run fast (RT3D: arXiv:2007.09835), in the order of its parts.

pattern       which weights come and go together; norms and choice of these units (numpy only)
kernel        the same for a kernel that is still learning
mask          what is kept, layer by layer: a value and a file (numpy only)
units         live norms of a torch network, masks on its weights
regularize    what drives units to zero while it trains, and what keeps them there
cost          what each layer costs for one clip
presets       published profiles; greedy: rates for a FLOPs rate
latency       a table of measured layers, and a network's time from it
proxy         a guess of the accuracy without training
space, bayes  the choices that are fast enough, and which of them promises most
search        rates for a time, from a recipe to a recipe
plan          what a recipe (`recipes.pruning`) means for its network
stages, run   dense, regularize, cut, retrain: each an ordinary training that can be resumed
result, draw  figures, the report's part, pictures
"""
