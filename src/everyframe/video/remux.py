"""Packets become a file, in a process of its own: a codec or a container that crashes takes only a clip with it.

    save(recording, path)      # -> the path with its suffix: .mp4, or .mkv for what MP4 does not take

Nothing is coded again, but for what masks must hide.
"""

from __future__ import annotations

import errno
import io
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from everyframe.errors import OutputError
from everyframe.video.masks import Masks, Polygon
from everyframe.video.packets import Coded, Recording

#: seconds for one clip
TIME_S = 60.0
_START = "import sys; sys.path[:] = sys.argv[2:]; from everyframe.video.remux import main; main(sys.argv[1])"


def save(recording: Recording, path: Path, masks: Sequence[Polygon] = (), timeout: float = TIME_S) -> Path:
    """path: without a suffix. Raises OutputError."""
    job = pickle.dumps((recording.head, recording.packets, recording.since, tuple(masks)))
    # Ctrl-C reaches all processes of a terminal, and SIGTERM those of a service: what is being written is finished
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _START, str(path), *sys.path],
            input=job,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        for suffix in _FORMATS:
            _partial(path, suffix).unlink(missing_ok=True)
        raise OutputError("The clip cannot be written.", where=path, got=type(error).__name__) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise OutputError("The clip cannot be written.", where=path, got=said[-1] if said else f"code {done.returncode}")
    return Path(done.stdout.decode().strip())


def main(path: str) -> None:
    """The process. Its input is pickled by its own parent."""
    head, packets, since, masks = pickle.loads(sys.stdin.buffer.read())
    problem: Exception | None = None
    for suffix in _FORMATS:
        whole, partial = Path(path + suffix), _partial(Path(path), suffix)
        try:
            if masks:
                _masked(head, packets, partial, suffix, masks, since)
            else:
                _copied(head, packets, partial, suffix)
            partial.replace(whole)
            print(whole)
            return
        except Exception as error:
            partial.unlink(missing_ok=True)
            problem = problem or error
            if isinstance(error, OSError) and error.errno in _HOPELESS:
                break
    print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
    sys.exit(1)


def _partial(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}{suffix}")


def _copied(head: bytes, packets: Sequence[Coded], path: Path, suffix: str) -> None:
    import av

    options = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    with av.open(io.BytesIO(head)) as known, av.open(str(path), "w", format=_FORMATS[suffix], options=options) as file:
        stream = file.add_stream_from_template(known.streams.video[0])
        for packet in _timed(packets):
            packet.stream = stream
            file.mux(packet)


def _masked(
    head: bytes, packets: Sequence[Coded], path: Path, suffix: str, masks: Sequence[Polygon], since: float
) -> None:  # fmt: skip
    """What is coded anew can begin at any picture."""
    import av

    from everyframe.video.encode import Encoder
    from everyframe.video.preprocess import prepare
    from everyframe.video.protocol import Order
    from everyframe.video.sources import Source
    from everyframe.video.tags import squared

    hide, whole = Masks(masks), Order(Source("file", "", ("",)))
    with av.open(io.BytesIO(head)) as known, av.open(str(path), "w", format=_FORMATS[suffix]) as file:
        decoder = known.streams.video[0].codec_context
        encoder: Encoder | None = None
        wanted = (packet.pts for coded, packet in zip(packets, _timed(packets), strict=True) if coded.at >= since)
        first = min(wanted, default=0)
        for frame in (frame for packet in (*_timed(packets), None) for frame in decoder.decode(packet)):
            if (frame.pts or 0) < first:
                continue
            picture = hide(prepare(squared(frame, decoder.sample_aspect_ratio), whole))
            height, width = picture.shape[:2]
            encoder = encoder or Encoder(file, suffix, height, width, _rate(packets))
            encoder.add(picture, ((frame.pts or 0) - first) * (packets[0].base if frame.time_base is None else frame.time_base))
        if encoder is not None:
            encoder.close()


_FORMATS = {".mp4": "mp4", ".mkv": "matroska"}
#: what no other container helps against
_HOPELESS = (errno.ENOSPC, errno.EACCES, errno.ENOENT, errno.EFBIG)


def _rate(packets: Sequence[Coded]) -> Fraction:
    seconds = packets[-1].at - packets[0].at
    return Fraction(round(len(packets) / seconds) if seconds > 0 else 25).limit_denominator(1000) or Fraction(25)


def _timed(packets: Sequence[Coded]) -> Any:
    """Packets for PyAV, times from 0 on, and such as a container takes: decode times that grow."""
    import av

    before, begins = -1, None
    for coded in packets:
        base = coded.base
        told = coded.dts if coded.dts is not None else coded.pts
        dts = told if told is not None else round((coded.at - packets[0].at) / base)
        begins = dts if begins is None else begins
        dts = max(dts - begins, before + 1)
        pts = max(dts, coded.pts - begins) if coded.pts is not None else dts
        packet = av.Packet(coded.data)
        packet.pts, packet.dts, packet.duration, packet.time_base, packet.is_keyframe = pts, dts, coded.duration, base, coded.key
        before = dts
        yield packet
