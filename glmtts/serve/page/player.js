// Sound while it arrives: 16-bit samples go to the loudspeaker through an <audio> element, and are
// kept for looking at, playing again, and saving.
export class Player {
  constructor(element) {
    this.element = element;
    this.parts = [];
    this.rate = 24000;
  }

  // Call in a click: browsers let sound begin only then.
  async begin(rate) {
    await this.stop();
    this.parts = [];
    this.rate = rate;
    this.context = new AudioContext({ sampleRate: rate });
    this.out = this.context.createMediaStreamDestination();
    this.next = 0;
    this.started = null;
    if (this.url) URL.revokeObjectURL(this.url);
    this.element.removeAttribute("src");
    this.element.srcObject = this.out.stream;
    await this.context.resume();
    this.element.play().catch(() => {});
  }

  push(pcm) {
    this.parts.push(pcm);
    if (!this.context || !pcm.length) return;
    const buffer = this.context.createBuffer(1, pcm.length, this.rate);
    const samples = buffer.getChannelData(0);
    for (let i = 0; i < pcm.length; i++) samples[i] = pcm[i] / 32768;
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.out);
    const now = this.context.currentTime;
    if (this.next < now) this.next = now + 0.03; // the beginning, or a gap
    this.started ??= this.next;
    source.start(this.next);
    this.next += buffer.duration;
    this.last = source;
  }

  // Seconds of sound heard so far.
  heard() {
    if (this.context && this.started !== null) return this.context.currentTime - this.started;
    return this.element.currentTime || 0;
  }

  // All has come: when it has been heard, the element gets the whole, to play again and seek in.
  async finish() {
    const context = this.context;
    if (!context) return;
    const left = Math.max(0, this.next - context.currentTime);
    await new Promise((resolve) => setTimeout(resolve, left * 1000 + 60));
    if (this.context !== context) return;
    await this.stop();
    this.url = URL.createObjectURL(this.wav());
    this.element.srcObject = null;
    this.element.src = this.url;
  }

  async stop() {
    const context = this.context;
    this.context = null;
    if (context) await context.close();
    this.element.pause();
    this.element.srcObject = null;
  }

  samples() {
    const all = new Int16Array(this.parts.reduce((sum, part) => sum + part.length, 0));
    let place = 0;
    for (const part of this.parts) { all.set(part, place); place += part.length; }
    return all;
  }

  wav() { return wav(this.samples(), this.rate); }
}

export function wav(samples, rate) {
  const head = new DataView(new ArrayBuffer(44));
  const text = (place, word) => [...word].forEach((c, i) => head.setUint8(place + i, c.charCodeAt(0)));
  const bytes = samples.length * 2;
  text(0, "RIFF"); head.setUint32(4, 36 + bytes, true); text(8, "WAVEfmt ");
  head.setUint32(16, 16, true); head.setUint16(20, 1, true); head.setUint16(22, 1, true);
  head.setUint32(24, rate, true); head.setUint32(28, rate * 2, true);
  head.setUint16(32, 2, true); head.setUint16(34, 16, true); text(36, "data");
  head.setUint32(40, bytes, true);
  return new Blob([head.buffer, samples], { type: "audio/wav" });
}
