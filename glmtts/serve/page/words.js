// The interface in two languages. Elements say what they want by data-t.
const ZH = {
  skip: "跳到文本", key: "密钥", say: "说", text: "文本", voice: "音色", speed: "语速", seed: "种子",
  hint: "方括号给出读音：长[chang2]，read[R EH1 D]。也可以用 SSML。",
  pace: "节奏", quick: "尽快开始", whole: "先检查再播放", speak: "朗读", cancel: "停止", read: "显示读音",
  hear: "听", download: "下载 WAV", srt: "字幕", clone: "克隆音色", add: "添加音色", name: "名称",
  cloneHint: "单人，4 到 10 秒，无音乐。只克隆已同意的人。", clip: "录音", record: "录制",
  transcript: "录音的内容（填写后更好，可以不填）", consent: "同意声明，写明说话人",
  forget: "删除所选音色", history: "历史", clear: "清空", api: "用程序调用", choose: "怎么读？", close: "关闭",
  auto: "按语言选择", speaking: "正在朗读……", done: "完成。", cancelled: "已停止。", stop: "停止录制",
  recording: "正在录制……", added: "已添加：", deleted: "已删除：", cloning: "正在克隆……", own: "照旧",
  characters: "字", firstSound: "首音", seconds: "时长", ended: "结束方式", underruns: "卡顿", notReady: "模型还在加载……",
  needClip: "请选择或录制一段声音。", uploads: "你的音色", bundled: "自带音色", reading: "读音",
  micro: "不能使用麦克风。", waveform: "波形", spectrogram: "梅尔频谱", wordsLabel: "词", speech: "语音",
  apiLabel: "API 示例", remove: "删除这一条",
};
const EN = {
  auto: "by language", speaking: "Speaking…", done: "Done.", cancelled: "Cancelled.", stop: "Stop recording",
  recording: "Recording…", added: "Added ", deleted: "Deleted ", cloning: "Cloning…", own: "as before",
  characters: "characters", firstSound: "First sound", seconds: "Length", ended: "Ended by", underruns: "Gaps",
  notReady: "The model is still loading…", needClip: "Choose or record a clip.", uploads: "Yours",
  bundled: "Of the model", reading: "Readings", micro: "The microphone cannot be used.",
  waveform: "Waveform", spectrogram: "Mel spectrogram", wordsLabel: "Words", speech: "Speech",
  apiLabel: "API example", remove: "Remove this one",
};
let language = localStorage.getItem("glmtts-language") || (navigator.language.startsWith("zh") ? "zh" : "en");

export const t = (name) => (language === "zh" ? ZH[name] : EN[name] || original.get(name)) || name;
const original = new Map();

export function translate(wanted = language) {
  language = wanted;
  localStorage.setItem("glmtts-language", language);
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-t]")) {
    const name = element.dataset.t;
    if (!original.has(name)) original.set(name, element.textContent);
    element.textContent = t(name);
  }
  const labels = { readings: "reading", wave: "waveform", mel: "spectrogram", words: "wordsLabel",
    audio: "speech", snippet: "apiLabel" };
  for (const [id, name] of Object.entries(labels)) {
    document.getElementById(id).setAttribute("aria-label", t(name));
  }
  const button = document.getElementById("language");
  button.textContent = language === "zh" ? "English" : "中文";
  button.lang = language === "zh" ? "en" : "zh";
}

export const other = () => (language === "zh" ? "en" : "zh");
