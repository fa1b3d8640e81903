"""A plain optical-flow rule, the yardstick: what a page of numpy without any learning recognizes.

Per frame the picture's moving part is given one velocity, by weighted least squares on brightness constancy (Lucas &
Kanade
1981, one window: everything that changes) with two re-warped iterations. Over the last second the path that it adds
up to is
looked at: straight and long is a swipe, to and fro a wave, round a circle. Image directions become the user's by the
label tables.
"""

from __future__ import annotations

import numpy as np

from everyframe.rendering.hands.motions import LABELS, SWIPES, TURNS

WINDOW_S = 1.0
SWIPE_PATH = 0.22  # frame heights within the window
WAVE_REVERSALS = 3
CIRCLE_TURN = 1.6 * np.pi
MOVING = 0.03  # change of gray that counts as motion, of 0..1


def velocities(video: np.ndarray) -> np.ndarray:
    """(T, H, W) uint8 -> (T, 2) motion of the moving part, frame heights a frame (x, y); 0 where nothing moves."""
    frames = video.astype(np.float32) / 255
    kernel = np.array([0.25, 0.5, 0.25], np.float32)
    for axis in (1, 2):
        for _ in range(2):
            frames = kernel[0] * np.roll(frames, 1, axis) + kernel[1] * frames + kernel[2] * np.roll(frames, -1, axis)
    result = np.zeros((len(video), 2))
    height, width = video.shape[1:]
    for t in range(1, len(frames)):
        before, now = frames[t - 1], frames[t]
        weight = np.minimum(np.abs(now - before), 0.3)
        weight = np.where(weight > MOVING, weight, 0)
        if (weight > 0).sum() < 6:
            continue
        # the center of what appeared against what was there a frame earlier: coarse, but not limited to a pixel or two
        earlier = np.abs(before - frames[t - 2]) if t > 1 else weight
        earlier = np.where(earlier > MOVING, np.minimum(earlier, 0.3), 0)
        y, x = np.mgrid[:height, :width]
        if earlier.sum() > 0:
            center = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
            before_center = np.array([(earlier * x).sum(), (earlier * y).sum()]) / earlier.sum()
            move = center - before_center
        else:
            move = np.zeros(2)
        gy, gx = np.gradient((before + now) / 2)
        gt = now - before
        a = np.array([[(weight * gx * gx).sum(), (weight * gx * gy).sum()], [(weight * gx * gy).sum(), (weight * gy * gy).sum()]])
        b = -np.array([(weight * gx * gt).sum(), (weight * gy * gt).sum()])
        flow = np.linalg.solve(a + 1e-3 * np.eye(2), b)
        result[t] = (0.5 * move + 0.5 * np.clip(flow, -6, 6)) / height
    return result


def scores(video: np.ndarray, fps: float) -> np.ndarray:
    """(T, H, W) uint8 -> (T, 8): a score of 0..1 per label at every frame, in the shape the event rule takes."""
    moves = velocities(video)
    span = round(WINDOW_S * fps)
    out = np.zeros((len(video), len(LABELS)))
    for t in range(len(video)):
        window = moves[max(0, t - span + 1) : t + 1]
        for label, value in _look(window).items():
            out[t, LABELS.index(label)] = value
    out[:, 0] = np.clip(1 - out[:, 1:].max(1), 0, 1)
    return out / out.sum(1, keepdims=True)


def _look(window: np.ndarray) -> dict[str, float]:
    speed = np.hypot(window[:, 0], window[:, 1])
    path, net = speed.sum(), window.sum(0)
    if path < 0.1:
        return {}
    moving = window[speed > 0.25 * speed.max()]
    heading = np.unwrap(np.arctan2(moving[:, 1], moving[:, 0]))
    turned = heading[-1] - heading[0]
    signs = np.sign(moving[np.abs(moving[:, 0]) > 0.3 * np.abs(moving[:, 0]).max(), 0])
    reversals = int((np.diff(signs) != 0).sum())
    straight = float(np.hypot(*net)) / path
    if abs(turned) > CIRCLE_TURN and straight < 0.5:
        return {next(k for k, v in TURNS.items() if v == np.sign(turned)): min(1.0, abs(turned) / (1.3 * CIRCLE_TURN))}
    if reversals >= WAVE_REVERSALS and np.abs(window[:, 0]).sum() > np.abs(window[:, 1]).sum():
        return {"wave": min(1.0, 0.6 + 0.1 * reversals)}
    if straight > 0.7 and np.hypot(*net) > SWIPE_PATH:
        best = max(SWIPES, key=lambda k: float(np.dot(SWIPES[k], net)))
        return {best: min(1.0, float(np.hypot(*net)) / (1.6 * SWIPE_PATH))}
    return {}
