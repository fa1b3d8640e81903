"""Procedural video: what a camera would see, with its truth, for training where no recordings can be had. Needs no torch.

    hands/       gestures, and what hands do that is none: the built-in model learns from it
    drivers/     faces behind a wheel: awake, or tired in four ways, with and without sunglasses
    backgrounds  textures behind everybody
    camera       shake, flicker, noise, blur, compression
    folder       clips in folders of their labels, and long recordings with spans, as `data` reads both

Everything is drawn from one generator, so a clip is its seed. Space is in frame heights (y in -0.5 .. 0.5 downwards, x to the
right), so every size can be rendered.
"""
