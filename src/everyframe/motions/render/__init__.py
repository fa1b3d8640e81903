"""Procedural video of hand motions, in the order in which data passes through the modules.

    motions      what a hand does: labels, gestures, the script that strings them together (a path and its truth)
    negatives    what a hand does that must be recognized as nothing
    performance  a whole stream of either
    backgrounds  textures behind everybody
    actors       hands, arms, people: signed distances turned into gray values
    camera       shake, pan, zoom, flicker, noise, blur, compression
    scene        one stream: all of the above, (frames, height, width) uint8 with its truth
    dataset      many streams: per-frame targets, a pool, flips
    sample       the clip shipped with the package

Space is in frame heights (y in -0.5 .. 0.5 downwards, x to the right), so every size can be rendered. Needs no torch.
"""
