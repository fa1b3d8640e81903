// Pictures as a coded video, by the browser's own encoder: a fraction of the bytes of JPEGs.

/** What the server calls it, and what WebCodecs does, best first. */
const CODECS = [["h264", { codec: "avc1.42E01F", avc: { format: "annexb" } }], ["vp9", { codec: "vp09.00.10.08" }], ["vp8", { codec: "vp8" }]];
const BITS = 0.13; // of a pixel, in each picture
const EVERY = 4; // seconds between two pictures that need none before

export class Film {
  /** With the first of these that this browser encodes; null where there is none. */
  static async of(codecs) {
    for (const [name, config] of globalThis.VideoEncoder ? CODECS : []) {
      const fits = () => VideoEncoder.isConfigSupported({ ...config, width: 320, height: 240 });
      if (codecs.includes(name) && (await fits().catch(() => null))?.supported) return new Film(name, config);
    }
    return null;
  }

  constructor(codec, config) {
    [this.codec, this.config, this.chunks] = [codec, config, []];
    this.due = true; // the next picture must need none before
    this.wrong = null;
    this.encoder = new VideoEncoder({ output: (chunk) => this.chunks.push(chunk), error: (error) => (this.wrong = error) });
  }

  /** {key, data} of a canvas; null where the encoder left it out. */
  async picture(canvas, time, rate) {
    const { width, height } = canvas;
    if (width !== this.config.width || height !== this.config.height) {
      this.config = { ...this.config, width, height, bitrate: Math.round(BITS * width * height * rate), framerate: rate, latencyMode: "realtime" };
      this.encoder.configure(this.config);
      this.due = true;
    }
    const keyFrame = this.due || !(time - this.last < EVERY) || time < this.last;
    const frame = new VideoFrame(canvas, { timestamp: Math.round(1e6 * time) });
    this.encoder.encode(frame, { keyFrame });
    frame.close();
    await this.encoder.flush(); // or it waits for more
    if (this.wrong) throw this.wrong;
    const chunk = this.chunks.splice(0).pop();
    if (!chunk) return null;
    const key = chunk.type === "key", data = new Uint8Array(chunk.byteLength);
    if (key) [this.last, this.due] = [time, false];
    chunk.copyTo(data);
    return { key, data };
  }

  close() {
    if (this.encoder.state !== "closed") this.encoder.close();
  }
}
