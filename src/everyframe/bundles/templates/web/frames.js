// The frames of a <video>, one by one. A browser that is busy leaves frames out: a camera's are gone, a file's are gone back for.

const SLOWEST = 1 / 4;
const LONG = 1.5; // of the shortest gap between two frames: there may be one between them that was not shown
const CALM = 30; // frames: losses that come sooner after each other halve the speed, four times as many without one double it
const CLOSE = 1e-3; // seconds: nearer to each other are no two frames
const PATIENCE_MS = 2000; // for a picture that a paused video should show
const ODD = 0.0012345; // seconds: no frame has this time
const LEARNED = 12; // frames that tell how far they lie apart
const quarter = (list) => list.sort((a, b) => a - b)[list.length >> 2] ?? Infinity;

/**
 * Plays a video and hands over its frames. live: a camera. take(picture, time): a VideoFrame or an ImageBitmap,
 * to be closed; time in seconds; where it answers with a promise, a file waits for it. over(): a file has no more.
 */
export class Player {
  #counted = { presented: 0, dropped: 0 }; // by the browser, at the last frame
  #last = -1; // time of the last frame
  #shortest = Infinity;
  #calm = 0;
  #sought = -1; // where it was jumped to
  #blind = false; // a browser that gives the time of a jump as that of the picture (Firefox): frames are taken to lie evenly
  #scouted = null; // [time, presented] of frames, while they are only looked at
  #dated = false; // whether pictures carry the time at which they are shown
  #still = null; // {until, shown}: the picture that a paused video is waited for to show
  #stopped = false;

  constructor(video, { live, take, over = () => {} }) {
    Object.assign(this, { video, live, take, over });
    this.#follow();
    if (!live) video.onended = () => this.#ended();
  }

  async play() {
    const { video, live } = this;
    video.playbackRate = video.defaultPlaybackRate = 1;
    if (!live && video.requestVideoFrameCallback) {
      video.pause();
      // the first picture, which playing would pass by; some phones show none before they play
      const failed = new Promise((_, reject) => video.addEventListener("error", () => reject(video.error), { once: true }));
      const time = await Promise.race([this.#picture(Infinity, 2 * PATIENCE_MS), failed]);
      this.#blind = time === 0 && Math.abs((await this.#seek(ODD)) - ODD) < CLOSE / 100;
      const first = this.#blind ? await this.#scout() : time;
      if (first >= 0 && !this.#stopped) return this.#taken(first);
    }
    if (!this.#stopped) await video.play();
  }

  stop() {
    this.#stopped = true;
    this.#still?.shown(NaN);
    this.video.onended = null;
  }

  /** A frame, where the browser tells; else whenever the page is painted. */
  #follow() {
    if (this.#stopped) return;
    const { video } = this;
    if (video.requestVideoFrameCallback) {
      video.requestVideoFrameCallback((_, { mediaTime, presentedFrames }) => {
        this.#follow();
        this.#shown(mediaTime, presentedFrames);
      });
    } else {
      requestAnimationFrame(() => {
        this.#follow();
        if (video.readyState > 1 && video.currentTime !== this.#last) this.#shown(video.currentTime);
      });
    }
  }

  #shown(time, presented = 0) {
    if (this.#stopped) return;
    if (this.#scouted) return void this.#scouted.push([time, presented]);
    if (this.live) return void this.take(this.#grab(), time);
    const { video } = this, before = this.#counted;
    const now = (this.#counted = { presented, dropped: video.getVideoPlaybackQuality?.().droppedVideoFrames ?? 0 });
    if (this.#still) return time <= this.#still.until && this.#still.shown(time); // later ones are from before a jump back
    if (time <= this.#last || (this.#blind && Math.abs(time - this.#sought) < CLOSE / 100)) return; // shown before
    const missed = now.dropped > before.dropped || (before.presented && now.presented > before.presented + 1);
    if (this.#blind ? this.#far(time) : missed || this.#far(time)) return void this.#fetch(time);
    const picture = this.#grab(), own = picture.timestamp / 1e6; // a late call may find the next picture there already
    this.#dated ||= Math.abs(own - time) < CLOSE;
    if (this.#blind || !this.#dated || Math.abs(own - time) < CLOSE) return void this.#taken(time, picture);
    picture.close();
    this.#fetch(time);
  }

  #grab() {
    const { video } = this;
    if (globalThis.VideoFrame && !this.#blind) return new VideoFrame(video);
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight); // turned as it is held, which Firefox's VideoFrame is not
    canvas.getContext("2d").drawImage(video, 0, 0);
    return canvas.transferToImageBitmap();
  }


  /** Whether there is room for one more frame before `time`. */
  #far = (time) => time - Math.max(0, this.#last) > LONG * this.#shortest || (this.#last < 0 && time > 0);

  async #taken(time, picture = this.#grab()) {
    if (this.#last >= 0 && !this.#blind) this.#shortest = Math.min(this.#shortest, time - this.#last);
    this.#last = time;
    const { video } = this;
    if (++this.#calm % (4 * CALM) === 0 && video.playbackRate < 1) video.playbackRate *= 2;
    const ready = this.take(picture, time);
    if (ready) {
      video.pause();
      await ready;
    }
    if (video.paused && !video.ended) await this.#go();
  }

  /** Goes back for the frame behind the last one; `time` is that of one that may come later. */
  async #fetch(time) {
    const { video } = this, last = this.#last;
    video.pause();
    if (this.#calm < CALM) video.playbackRate = Math.max(SLOWEST, video.playbackRate / 2);
    this.#calm = 0;
    const expected = last + 1.25 * this.#shortest;
    let found = this.#shortest < Infinity ? await this.#seek(expected) : NaN;
    if (this.#blind) [found] = [last + this.#shortest, await this.#settled()];
    else if (!(found > last) || this.#far(found)) {
      // not where it was to be expected: whatever a frame follows lies just before it
      for (found = time; (time = await this.#seek(found - CLOSE)) > last && time < found; ) found = time;
      if (found < video.duration) await this.#seek(found + CLOSE / 2);
    }
    if (this.#stopped) return;
    if (found < video.duration) this.#taken(found);
    else this.over();
  }

  /** Plays the beginning to learn how far frames lie apart. Returns the first one's time, when that is shown again. */
  async #scout() {
    const { video } = this, seen = (this.#scouted = []), until = performance.now() + 5 * PATIENCE_MS;
    await video.play();
    while (seen.length <= LEARNED && !video.ended && !this.#stopped && performance.now() < until) await new Promise(requestAnimationFrame);
    video.pause();
    this.#scouted = null;
    const gaps = seen.slice(2).map(([time, presented], i) => (time - seen[i + 1][0]) / (presented - seen[i + 1][1]));
    const gap = quarter(gaps.filter((each) => each > 0)), begun = seen[1]?.[0], all = (seen.at(-1)?.[0] ?? 0) - begun;
    if (gap < Infinity) this.#shortest = all / Math.round(all / gap); // times are rounded: the more of them, the better
    await this.#seek(0);
    await this.#settled();
    const first = begun % this.#shortest;
    return first > CLOSE && first < this.#shortest - CLOSE ? first : 0;
  }

  /** A jump that was told may not be seen yet. */
  async #settled() {
    while (this.video.seeking && !this.#stopped) await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
  }

  /** What is shown at a time; NaN: nothing new. */
  #seek(time) {
    if (this.#stopped) return NaN;
    this.video.currentTime = this.#sought = Math.max(0, time);
    return this.#picture(time + CLOSE / 4);
  }

  /** The time of the next picture that the paused video shows, if it is not later than `until`; else NaN. */
  #picture(until, patience = PATIENCE_MS) {
    return new Promise((resolve) => {
      const shown = (time) => (clearTimeout(timer), (this.#still = null), resolve(time));
      const timer = setTimeout(shown, patience, NaN);
      this.#still = { until, shown };
    });
  }

  #go = () => !this.#stopped && this.video.play().catch(() => {});

  #ended() {
    // the last frame may still be on its way to the screen
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (this.#stopped || this.#still || !this.video.ended) return;
      if (this.#far(this.video.duration)) this.#fetch(this.video.duration);
      else this.over();
    }));
  }
}
