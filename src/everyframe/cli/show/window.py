"""A window with the newest picture, in a process of its own: it stays alive while a camera is waited for, and some systems open
windows in the main thread of a process only. `main` is that process, which imports nothing but tkinter.
"""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

#: width and height of a picture; then its RGB bytes
HEADER = struct.Struct("<II")
READY = b"ready\n"
#: milliseconds between two looks for a new picture
LOOK_MS = 15
#: seconds in which a window opens
OPENING_S = 20.0
_START = (
    "import sys; n = int(sys.argv[1]) + 2; sys.path[:] = sys.argv[2:n]; del sys.argv[1:n]; "
    "from everyframe.cli.show.window import main; main()"
)


class NoWindow(Exception):
    """Why there can be none here."""


class Window:
    """Raises NoWindow. show: (h, w, 3) uint8 RGB; False when somebody has closed the window."""

    def __init__(self, title: str) -> None:
        command = [sys.executable, "-P", "-c", _START, str(len(sys.path)), *sys.path, title]
        self.closed = False
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        late = threading.Timer(OPENING_S, self._process.kill)
        late.start()
        said = self._process.stdout.readline() if self._process.stdout else b""
        late.cancel()
        if said != READY:
            _, why = self._process.communicate()
            lines = why.decode(errors="replace").strip().splitlines()
            raise NoWindow(lines[-1] if lines else "no window opened in time")

    def show(self, picture: np.ndarray) -> bool:
        pipe: Any = self._process.stdin
        try:
            pipe.write(HEADER.pack(picture.shape[1], picture.shape[0]) + picture.tobytes())
            pipe.flush()
        except OSError:
            self.closed = True
        return not self.closed

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it has gone
            self._process.communicate(timeout=1)
        self._process.kill()
        self._process.wait()


# -- in the window's process ----------------------------------------------------------------------------------------------------


def main() -> None:
    try:
        import tkinter
    except ImportError:
        raise SystemExit("tkinter is not installed (on Debian: apt install python3-tk)") from None
    try:
        root = tkinter.Tk()
    except tkinter.TclError as error:
        raise SystemExit(str(error)) from None
    root.title(sys.argv[1])
    label = tkinter.Label(root, borderwidth=0, background="white")
    label.pack(expand=True)
    newest: list[bytes | None] = [b""]
    threading.Thread(target=_listen, args=(newest,), daemon=True).start()

    def look() -> None:
        data, newest[0] = newest[0], b""
        if data is None:  # whoever sent pictures has gone
            root.destroy()
            return
        if data:
            shown = tkinter.PhotoImage(data=data, format="PPM")
            label.configure(image=shown)
            label.image = shown  # type: ignore[attr-defined]  # Tk holds none
        root.after(LOOK_MS, look)

    look()
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    root.mainloop()


def _listen(newest: list[bytes | None]) -> None:
    read = sys.stdin.buffer.read
    while len(head := read(HEADER.size)) == HEADER.size:
        width, height = HEADER.unpack(head)
        newest[0] = b"P6 %d %d 255\n" % (width, height) + read(3 * width * height)
    newest[0] = None
