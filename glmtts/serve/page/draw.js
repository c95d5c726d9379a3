// Waveform and mel spectrogram of 16-bit samples, drawn on canvases.
const BINS = 80;
const SIZE = 1024;

export function drawWave(canvas, samples) {
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = "#7fd0e8";
  const each = Math.max(1, Math.ceil(samples.length / width));
  for (let x = 0; x * each < samples.length; x++) {
    let low = 0, high = 0;
    for (let i = x * each; i < Math.min(samples.length, (x + 1) * each); i += 4) {
      low = Math.min(low, samples[i]); high = Math.max(high, samples[i]);
    }
    const top = height / 2 - (high / 32768) * (height / 2);
    pen.fillRect(x, top, 1, Math.max(1, ((high - low) / 32768) * (height / 2)));
  }
}

export function drawMel(canvas, samples, rate) {
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  if (samples.length < SIZE) return;
  const columns = Math.min(width, Math.floor((samples.length - SIZE) / 240) + 1);
  const hop = columns > 1 ? (samples.length - SIZE) / (columns - 1) : 0;
  const filters = melFilters(rate);
  const image = pen.createImageData(columns, BINS);
  const real = new Float64Array(SIZE), imaginary = new Float64Array(SIZE);
  for (let x = 0; x < columns; x++) {
    const start = Math.floor(x * hop);
    for (let i = 0; i < SIZE; i++) {
      real[i] = (samples[start + i] / 32768) * (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
      imaginary[i] = 0;
    }
    transform(real, imaginary);
    for (let bin = 0; bin < BINS; bin++) {
      let sum = 0;
      const { first, weights } = filters[bin];
      for (let k = 0; k < weights.length; k++) {
        sum += weights[k] * Math.hypot(real[first + k], imaginary[first + k]);
      }
      const loud = Math.min(1, Math.max(0, (Math.log10(sum + 1e-4) + 3) / 4));
      const place = 4 * ((BINS - 1 - bin) * columns + x);
      image.data[place] = 255 * Math.min(1, Math.max(0, 2 * loud - 0.6));
      image.data[place + 1] = 255 * Math.pow(loud, 1.4);
      image.data[place + 2] = 255 * Math.min(1, 0.12 + 0.75 * Math.sin(loud * Math.PI));
      image.data[place + 3] = 255;
    }
  }
  const small = new OffscreenCanvas(columns, BINS);
  small.getContext("2d").putImageData(image, 0, 0);
  pen.imageSmoothingEnabled = true;
  pen.drawImage(small, 0, 0, columns, BINS, 0, 0, width, height);
}

const toMel = (hz) => 2595 * Math.log10(1 + hz / 700);
const toHz = (mel) => 700 * (10 ** (mel / 2595) - 1);

function melFilters(rate) {
  const top = toMel(Math.min(8000, rate / 2));
  const edges = Array.from({ length: BINS + 2 }, (_, i) => (toHz((top * i) / (BINS + 1)) / rate) * SIZE);
  return Array.from({ length: BINS }, (_, bin) => {
    const [a, b, c] = edges.slice(bin, bin + 3);
    const first = Math.floor(a), weights = [];
    for (let k = first; k <= Math.ceil(c); k++) {
      weights.push(Math.max(0, Math.min((k - a) / (b - a || 1), (c - k) / (c - b || 1))));
    }
    if (weights.every((weight) => weight === 0)) weights[0] = 1; // narrower than a bin
    return { first, weights };
  });
}

// Radix-2 FFT in place.
function transform(real, imaginary) {
  for (let i = 1, j = 0; i < SIZE; i++) {
    let bit = SIZE >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let length = 2; length <= SIZE; length <<= 1) {
    const half = length / 2, angle = (-2 * Math.PI) / length;
    for (let i = 0; i < SIZE; i += length) {
      for (let k = 0; k < half; k++) {
        const c = Math.cos(angle * k), s = Math.sin(angle * k);
        const a = i + k, b = a + half;
        const re = real[b] * c - imaginary[b] * s, im = real[b] * s + imaginary[b] * c;
        real[b] = real[a] - re; imaginary[b] = imaginary[a] - im;
        real[a] += re; imaginary[a] += im;
      }
    }
  }
}
