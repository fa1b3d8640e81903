// What a page tells a worker, one after the other, and the frames of a camera that it is handed.

/** run: which playing it is; goes back with the answers, so that the page can tell late ones. camera: whose frames are taken. */
export const playing = { run: undefined, camera: null };

/** takes: by kind of message, what is done with it, and what is answered, if anything. */
export function take(takes) {
  let queue = Promise.resolve();
  const turn = (data) => (queue = queue.then(async () => {
    try {
      const answer = await takes[data.kind](data);
      if (answer) postMessage({ ...answer, run: playing.run });
    } catch (error) {
      postMessage({ kind: "error", message: error.message, run: playing.run });
    }
  }));
  onmessage = ({ data }) => (data.kind === "camera" ? watch(data) : turn(data));

  /** Frames straight from a camera, until there is another one or none: neither a busy page nor a hidden one is in their way. */
  async function watch({ frames = null }) {
    const reader = (playing.camera = frames?.getReader() ?? null);
    for (let next; reader && !(next = await reader.read()).done; ) {
      const { value: image } = next;
      if (playing.camera !== reader) image.close(); // stopped: what it still held
      else await turn({ kind: "frame", image, time: image.timestamp / 1e6, sent: performance.timeOrigin + performance.now() });
    }
  }
}
