// The page: text with readings, speech while it is made, voices, history.
import { t, translate, other } from "/page/words.js";
import { Player, wav } from "/page/player.js";
import { drawWave, drawMel } from "/page/draw.js";

const $ = (id) => document.getElementById(id);
const player = new Player($("audio"));
let words = [];
let request = null;
let clip = null;
let microphone = null;

const headers = (extra = {}) => {
  const key = $("key").value.trim();
  return key ? { ...extra, Authorization: `Bearer ${key}` } : extra;
};

async function call(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: headers(options.headers) });
  if (answer.ok) return answer;
  if (answer.status === 401) $("key-box").hidden = false;
  let message = `${answer.status}`;
  try { message = (await answer.json()).error.message; } catch { /* no JSON: the number must do */ }
  throw new Error(message);
}

const json = (body) => ({
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
});

function tell(error) { $("error").textContent = error ? error.message || String(error) : ""; }

// ----- readings ------------------------------------------------------------------------------

async function showReadings() {
  tell("");
  const text = $("text").value;
  if (!text.trim()) { $("readings").replaceChildren(); return; }
  try {
    const told = await (await call("/v1/text/normalize", json({ input: text }))).json();
    $("readings").replaceChildren(...told.sentences.flatMap((sentence) => sentence.readings.map(unit)));
  } catch (error) { tell(error); }
}

function unit(reading) {
  const several = reading.choices.length > 1 && reading.index !== null;
  const element = document.createElement(several ? "button" : "span");
  element.className = "unit" + (reading.rule === "inline" ? " given" : "");
  const small = document.createElement("small");
  small.textContent = reading.reading;
  element.append(small, reading.text);
  if (several) {
    element.type = "button";
    element.setAttribute("aria-haspopup", "dialog");
    element.setAttribute("aria-label", `${reading.text} ${reading.reading}`);
    element.addEventListener("click", () => choose(reading));
  }
  return element;
}

function choose(reading) {
  const buttons = reading.choices.map((choice) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = choice;
    button.className = choice === reading.reading ? "" : "second";
    button.setAttribute("aria-pressed", String(choice === reading.reading));
    button.addEventListener("click", () => { $("choose").close(); give(reading, choice); });
    return button;
  });
  $("choices").replaceChildren(...buttons);
  $("choose-title").textContent = `${reading.text} — ${t("choose")}`;
  $("choose").showModal();
}

// Write a reading behind its character, in place of one that stands there.
function give(reading, choice) {
  const characters = [...$("text").value];
  const after = reading.index + [...reading.text].length;
  const rest = characters.slice(after).join("").replace(/^[[［][^\]］]*[\]］]/, "");
  $("text").value = characters.slice(0, after).join("") + `[${choice}]` + rest;
  counted();
  showReadings();
}

// ----- speech --------------------------------------------------------------------------------

function asked() {
  const body = { input: $("text").value, speed: Number($("speed").value), pace: $("pace").value };
  if ($("voice").value) body.voice = $("voice").value;
  if ($("seed").value !== "") body.seed = Number($("seed").value);
  return body;
}

async function speak() {
  if (request) return;
  tell("");
  const body = asked();
  request = new AbortController();
  busy(true);
  words = [];
  $("words").replaceChildren();
  $("facts").replaceChildren();
  $("download").hidden = $("srt").hidden = true;
  const started = performance.now();
  let first = null;
  try {
    await player.begin(24000);
    const answer = await call("/v1/audio/speech", {
      ...json({ ...body, response_format: "pcm", sample_rate: 24000, stream_format: "sse", timestamps: true }),
      signal: request.signal,
    });
    const lines = [];
    for await (const event of events(answer.body)) {
      if (event.type === "speech.audio.delta") {
        first ??= performance.now() - started;
        player.push(samplesOf(event.audio));
        drawWave($("wave"), player.samples());
      } else if (event.type === "speech.audio.timestamps") {
        lines.push(event);
        event.words.forEach(addWord);
      } else if (event.type === "error") {
        throw new Error(event.error.message);
      } else if (event.type === "speech.audio.done") {
        finished(event, first, lines, body);
      }
    }
  } catch (error) {
    await player.stop();
    if (error.name === "AbortError") $("status").textContent = t("cancelled");
    else { $("status").textContent = ""; tell(error); }
  } finally {
    request = null;
    busy(false);
  }
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield JSON.parse(part.slice(6));
  }
}

function samplesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Int16Array(bytes.buffer);
}

function addWord(word) {
  const item = document.createElement("li");
  item.textContent = word.text;
  item.title = `${word.start_s.toFixed(2)} – ${word.end_s.toFixed(2)} s`;
  $("words").append(item);
  words.push({ ...word, item });
}

function finished(event, first, lines, body) {
  const fact = (name, value) => {
    const box = document.createElement("div");
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = t(name); dd.textContent = value;
    box.append(dt, dd);
    return box;
  };
  $("facts").replaceChildren(
    fact("firstSound", `${Math.round(first ?? 0)} ms`), fact("seconds", `${event.seconds.toFixed(2)} s`),
    fact("ended", event.finish_reason), fact("underruns", event.underruns),
  );
  const samples = player.samples();
  drawWave($("wave"), samples);
  drawMel($("mel"), samples, player.rate);
  $("download").href = URL.createObjectURL(player.wav());
  $("srt").href = URL.createObjectURL(new Blob([srt(lines)], { type: "application/x-subrip" }));
  $("download").hidden = $("srt").hidden = false;
  $("status").textContent = t("done");
  remember(body);
  player.finish();
}

function srt(lines) {
  const clock = (s) => new Date(Math.round(s * 1000)).toISOString().slice(11, 23).replace(".", ",");
  return lines.map((line, i) => `${i + 1}\n${clock(line.start_s)} --> ${clock(line.end_s)}\n${line.text}\n`).join("\n");
}

function busy(now) {
  $("speak").disabled = now;
  $("cancel").disabled = !now;
  if (now) $("status").textContent = t("speaking");
}

function follow() {
  const now = player.heard();
  for (const word of words) word.item.classList.toggle("now", word.start_s <= now && now < word.end_s);
  requestAnimationFrame(follow);
}

// ----- voices --------------------------------------------------------------------------------

async function showVoices(chosen = $("voice").value) {
  const { voices } = await (await call("/v1/audio/voices")).json();
  const group = (label, list) => {
    const element = document.createElement("optgroup");
    element.label = label;
    element.append(...list.map((v) => new Option(`${v.name} (${v.language || "?"})`, v.name)));
    return element;
  };
  $("voice").replaceChildren(new Option(t("auto"), ""));
  const own = voices.filter((v) => !v.bundled), bundled = voices.filter((v) => v.bundled);
  if (own.length) $("voice").append(group(t("uploads"), own));
  if (bundled.length) $("voice").append(group(t("bundled"), bundled));
  $("voice").value = chosen;
  if ($("voice").selectedIndex < 0) $("voice").value = "";
}

async function clone(event) {
  event.preventDefault();
  const sound = $("clip").files[0] || clip;
  if (!sound) { $("clone-status").textContent = t("needClip"); return; }
  const form = new FormData();
  form.append("audio_sample", sound, sound.name || "recorded.wav");
  for (const name of ["name", "consent", "transcript"]) form.append(name, $(name).value);
  $("clone-status").textContent = t("cloning");
  try {
    const voice = await (await call("/v1/audio/voices", { method: "POST", body: form })).json();
    $("clone-status").textContent = t("added") + voice.name;
    clip = null;
    $("clone").reset();
    $("recorded").textContent = "";
    await showVoices(voice.name);
    snippet();
  } catch (error) { $("clone-status").textContent = error.message; }
}

async function forget() {
  const name = $("voice").value;
  if (!name) return;
  try {
    await call(`/v1/audio/voices/${encodeURIComponent(name)}`, { method: "DELETE" });
    $("clone-status").textContent = t("deleted") + name;
    await showVoices("");
  } catch (error) { $("clone-status").textContent = error.message; }
}

async function record() {
  if (microphone) { microphone.stop(); return; }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const context = new AudioContext();
    await context.audioWorklet.addModule("/page/recorder.js");
    const node = new AudioWorkletNode(context, "recorder");
    const parts = [];
    node.port.onmessage = ({ data }) => parts.push(data);
    context.createMediaStreamSource(stream).connect(node);
    $("record").textContent = t("stop");
    $("recorded").textContent = t("recording");
    const stop = async () => {
      clearTimeout(timer);
      microphone = null;
      stream.getTracks().forEach((track) => track.stop());
      await context.close();
      const all = Int16Array.from(parts.flatMap((p) => [...p]), (x) => Math.max(-1, Math.min(1, x)) * 32767);
      clip = wav(all, context.sampleRate);
      $("record").textContent = t("record");
      $("recorded").textContent = `${(all.length / context.sampleRate).toFixed(1)} s`;
    };
    const timer = setTimeout(stop, 20000);
    microphone = { stop };
  } catch { $("recorded").textContent = t("micro"); }
}

// ----- history and example -------------------------------------------------------------------

const past = () => { try { return JSON.parse(localStorage.getItem("glmtts-history")) || []; } catch { return []; } };

function remember(body) {
  const kept = past().filter((item) => JSON.stringify(item) !== JSON.stringify(body));
  localStorage.setItem("glmtts-history", JSON.stringify([body, ...kept].slice(0, 30)));
  showHistory();
}

function showHistory() {
  $("history").replaceChildren(...past().map((body, place) => {
    const item = document.createElement("li");
    const again = document.createElement("button");
    again.type = "button";
    again.className = "plain";
    again.textContent = body.input.slice(0, 80);
    again.addEventListener("click", () => {
      $("text").value = body.input;
      $("voice").value = body.voice || "";
      $("speed").value = body.speed;
      $("seed").value = body.seed ?? "";
      counted();
      showReadings();
      $("text").focus();
    });
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "plain";
    remove.textContent = "×";
    remove.setAttribute("aria-label", t("remove"));
    remove.style.flex = "0";
    remove.addEventListener("click", () => {
      localStorage.setItem("glmtts-history", JSON.stringify(past().filter((_, i) => i !== place)));
      showHistory();
    });
    item.append(again, remove);
    return item;
  }));
}

function snippet() {
  const body = { model: "tts-1", ...asked(), response_format: "mp3" };
  body.input = body.input.slice(0, 60) || "Hello.";
  const key = $("key-box").hidden ? "" : ' \\\n  -H "Authorization: Bearer $GLMTTS_API_KEY"';
  $("snippet").textContent =
    `curl ${location.origin}/v1/audio/speech -o speech.mp3${key} \\\n` +
    `  -H "Content-Type: application/json" \\\n  -d '${JSON.stringify(body).replaceAll("'", "'\\''")}'\n\n` +
    `from openai import OpenAI\n\nclient = OpenAI(base_url="${location.origin}/v1", api_key="…")\n` +
    `client.audio.speech.create(model="tts-1", voice=${JSON.stringify(body.voice || "alloy")}, ` +
    `input=${JSON.stringify(body.input)}).write_to_file("speech.mp3")`;
}

function counted() {
  $("count").textContent = `${[...$("text").value].length} ${t("characters")} · `;
  $("speed-shown").textContent = $("speed").value;
  sessionStorage.setItem("glmtts-text", $("text").value);
  snippet();
}

// ----- life ----------------------------------------------------------------------------------

let pause = 0;
$("text").addEventListener("input", () => { counted(); clearTimeout(pause); pause = setTimeout(showReadings, 600); });
for (const id of ["speed", "seed", "voice", "pace"]) $(id).addEventListener("input", counted);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) speak();
});
$("speak").addEventListener("click", speak);
$("cancel").addEventListener("click", () => request?.abort());
$("read").addEventListener("click", showReadings);
$("clone").addEventListener("submit", clone);
$("forget").addEventListener("click", forget);
$("record").addEventListener("click", record);
$("clear").addEventListener("click", () => { localStorage.removeItem("glmtts-history"); showHistory(); });
$("key").addEventListener("change", () => { sessionStorage.setItem("glmtts-key", $("key").value); start(); });
$("language").addEventListener("click", () => { translate(other()); counted(); showHistory(); start(); });

async function start() {
  if ((await fetch("/ready")).status !== 200) {
    $("status").textContent = t("notReady");
    setTimeout(start, 1000);
    return;
  }
  if ($("status").textContent === t("notReady")) $("status").textContent = "";
  try {
    const { data } = await (await call("/v1/models")).json();
    $("model").textContent = `${data[0].id} · ${data[0].sample_rate / 1000} kHz`;
    tell("");
    await showVoices();
    if ($("text").value.trim()) showReadings();
  } catch (error) { tell(error); }
}

$("key").value = sessionStorage.getItem("glmtts-key") || "";
$("text").value = sessionStorage.getItem("glmtts-text") || "你好，世界。银行行长长得很高。Hello, world.";
translate();
showHistory();
counted();
follow();
start();
