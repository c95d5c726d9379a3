"""Text to speech: the whole path. Read `Synthesizer.stream` first; each line of it is one stage.

text -> sentences -> text ids -> speech tokens -> mel frames -> samples
text/frontend    text/tokenizer   lm.py        flow.py      vocoder.py
"""

import logging
import math
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from glmtts import checkpoint, hub
from glmtts.ahead import Ahead
from glmtts.audio import Audio
from glmtts.cloning import VoiceEncoder
from glmtts.devices import resolve_device, resolve_dtype
from glmtts.errors import BadInput, BadText, SpeechError
from glmtts.flow import FlowOptions, Opening, TokenToMel
from glmtts.laugh_net import LaughNet
from glmtts.lm import TextToSpeechTokens
from glmtts.model_folder import Manifest, read_manifest
from glmtts.nn import dit
from glmtts.nn.packed import quick_dtype
from glmtts.nn.threads import at_most
from glmtts.openings import Openings
from glmtts.options import Pace, SpeakOptions
from glmtts.pauses import ListPauses
from glmtts.pieces import Block, Piece
from glmtts.proofreader import Proofreader
from glmtts.sampling import Sampling
from glmtts.speaker import SpeakerEncoder
from glmtts.speech_lm import FinishedTokens, SpeechLM, Tokens
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads
from glmtts.steering import Judge, Marks
from glmtts.style_net import StyleNet
from glmtts.text.frontend import Frontend, Sentence
from glmtts.text.hybrid import Policy
from glmtts.text.lexicon import Lexicon
from glmtts.text.normalize import normalise
from glmtts.text.pieces import whole_sentences
from glmtts.text.readings import is_mandarin
from glmtts.text.styles import LAUGHTER, NEUTRAL, laughs, style_class
from glmtts.text.tokenizer import TextTokenizer
from glmtts.text_reader import Reading, TextReader
from glmtts.utterance import while_wanted
from glmtts.vocoder import Vocoder
from glmtts.voice import Prompt, Voice
from glmtts.voices import VoiceLibrary, default_folder
from glmtts.wanted import check_wanted
from glmtts.wardrobe import Wardrobe

log = logging.getLogger(__name__)

REST_TOKENS = 2
"""Silence that the language model hears behind a voice's clip at least: the median in training."""

PARTS = ("text_tokenizer", "lm", "flow", "vocoder", "speech_tokenizer", "speaker")


Chunk = tuple[str, list[tuple[Sentence, Reading | None]]]
"""A text and its sentences with what is said in each (None: a pause alone)."""


class Synthesizer:
    """A model ready to speak.

    Attributes:
        shared_lm: What `stream` uses in place of `lm`, if anything: a server speaks many texts in
            one batch.
        turn: Entered while sound is computed; a server lets those wait here whose listeners have
            enough to hear.
    """

    def __init__(
        self,
        manifest: Manifest,
        text_tokenizer: TextTokenizer,
        lm: TextToSpeechTokens,
        flow: TokenToMel,
        vocoder: Vocoder,
        encoder: VoiceEncoder,
        voices: VoiceLibrary,
        proofreader: Proofreader | None = None,
        folders: Mapping[str, Path] | None = None,
    ) -> None:
        """Put parts together; `load` does it from a folder.

        `folders` are those that parts were loaded from: adapters know their base by its file.
        """
        self.proofreader = proofreader
        self.manifest = manifest
        self.frontend = Frontend(max_length=manifest.sentence_length)
        self.text_tokenizer = text_tokenizer
        self.lm, self.flow, self.vocoder = lm, flow, vocoder
        self.encoder, self.voices = encoder, voices
        self.shared_lm: SpeechLM | None = None
        self.turn: Callable[[], AbstractContextManager[object]] = nullcontext
        self._openings = Openings()
        self._wardrobe = Wardrobe(folders or {})

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "glmtts-nano",
        *,
        device: str = "auto",
        dtype: str = "auto",
        components: dict[str, str | Path] | None = None,
        voices: str | Path | None = None,
    ) -> "Synthesizer":
        """Load a model.

        Args:
            name_or_path: A name of `available_models()` or a model folder.
            device: "cpu", "cuda", "cuda:1" …; "auto" takes a GPU if there is one.
            dtype: Type of the language model's weights: "float32", "bfloat16", "float16", or "int8"
                for fast decoding on a CPU. "auto" is the quickest that cannot be told apart by ear:
                bfloat16 on a GPU; on a CPU int8 where there are kernels for it, and bfloat16 for
                the products of the flow's transformer and inside the vocoder's blocks where the
                processor has such (sums, norms and all that is added up stay float32). "float32"
                keeps every digit.
            components: Other folders for single components ("lm", "flow", "vocoder", …), such as a
                training checkpoint.
            voices: Folder of the user's voices; by default the one of this platform.

        Raises:
            UnknownModel: no such name or folder.
            CheckpointError: the folder is damaged.
            BadInput: an unknown device or dtype.
        """
        folder = hub.resolve(name_or_path)
        manifest = read_manifest(folder)
        where, kind = resolve_device(device), resolve_dtype(dtype, device)
        paths = {name: folder / name for name in PARTS}
        paths |= {name: Path(path) for name, path in (components or {}).items()}
        text_tokenizer = TextTokenizer.load(paths["text_tokenizer"])
        text = TextReader(text_tokenizer, manifest.phonemes)
        speech_tokenizer = checkpoint.load(SpeechTokenizer, paths["speech_tokenizer"], device=where)
        flow = checkpoint.load(TokenToMel, paths["flow"], device=where)
        vocoder = checkpoint.load(Vocoder, paths["vocoder"], device=where)
        if where.type == "cpu":
            products = quick_dtype() if dtype == "auto" else torch.float32
            speech_tokenizer.packed()
            flow.packed(products)
            vocoder.packed(products)
        encoder = VoiceEncoder(
            speech_tokenizer,
            checkpoint.load(SpeakerEncoder, paths["speaker"], device=where),
            text.transcript,
            manifest.audio,
            manifest.voice_dbfs,
        )
        proofreader, heads = None, paths["speech_tokenizer"] / "heads"
        if heads.is_dir():
            styles = paths["speech_tokenizer"] / "styles"
            laughs = paths["speech_tokenizer"] / "laughs"
            proofreader = Proofreader(
                speech_tokenizer, checkpoint.load(TokenizerHeads, heads, device=where),
                checkpoint.load(StyleNet, styles).eval() if styles.is_dir() else None,
                checkpoint.load(LaughNet, laughs).eval() if laughs.is_dir() else None,
            )  # fmt: skip
        lm = checkpoint.load(
            TextToSpeechTokens, paths["lm"], device=where,
            dtype=torch.bfloat16 if kind is torch.int8 else kind,
        )  # fmt: skip
        return cls(
            manifest,
            text_tokenizer,
            lm.pack() if kind is torch.int8 else lm,
            flow,
            vocoder,
            encoder,
            VoiceLibrary(
                bundled=folder / "voices",
                stored=default_folder() if voices is None else Path(voices),
                spec=manifest.audio,
            ),
            proofreader,
            paths,
        )

    @property
    def sample_rate(self) -> int:
        """Samples per second of everything spoken."""
        return self.manifest.audio.sample_rate

    @property
    def flow_options(self) -> FlowOptions:
        """The flow's options that this model is tuned for; vary them with `dataclasses.replace`."""
        m = self.manifest
        return FlowOptions(m.flow_steps, m.flow_guidance, m.flow_temperature, m.laugh_temperature)

    def sampling(self, wanted: Sampling, style: str | None = None) -> Sampling:
        """`wanted` with what it leaves open as this model is tuned, for a sentence in a style."""
        m = self.manifest
        count = m.styled_candidates or m.candidates if style else m.candidates
        return replace(
            wanted,
            top_p=m.top_p if wanted.top_p is None else wanted.top_p,
            candidates=count if wanted.candidates is None else wanted.candidates,
            ahead=m.ahead if wanted.ahead is None else wanted.ahead,
        )

    def voice(self, name_or_audio: str | Path | Audio, transcript: str | None = None) -> Voice:
        """A voice by name, or cloned from a clip (a path or an `Audio`) of 1 to 30 seconds.

        Args:
            name_or_audio: A name in the library, the path of an audio file, or a sound.
            transcript: What the clip says; improves manner and accent, and may be left out.

        Raises:
            UnknownVoice: no voice and no file of that name.
            BadAudio: the clip cannot be read, or is unfit; the message says why.
        """
        if isinstance(name_or_audio, Audio):
            return self.encoder(name_or_audio, transcript)
        name = str(name_or_audio)
        if isinstance(name_or_audio, str) and name in self.voices.names():
            return self.voices.get(name)
        path = Path(name).expanduser()
        if path.is_file() or path.suffix or "/" in name:
            return self.encoder(Audio.load(path), transcript, name=path.stem)
        return self.voices.get(name)  # raises, naming the voices there are

    def default_voice(self, text: str) -> Voice:
        """The model's own voice for the language of `text` (Mandarin if it holds any Hanzi).

        Without any letter, the language is the one that numbers are read in.

        Raises:
            UnknownVoice: the model has no voices.
        """
        described = [v for v in self.voices.describe() if not v["problem"]]
        wanted = "zh" if is_mandarin(_with_letters(text)) else "en"
        known = {v["name"]: v["language"] for v in described}
        for name in (*self.manifest.default_voices, *known):
            if known.get(name) == wanted:
                return self.voices.get(name)
        return self.voices.get(next(iter(known), "default"))

    def adapted(self, voice: Voice) -> "Synthesizer":
        """This model with the adapters of a voice; it shares all weights with `self`.

        Adapters are read when a voice is first used and kept as long as this model.

        Raises:
            CheckpointError: the adapters are damaged, or were trained on another model.
        """
        return self._wardrobe.dressed(self, voice) if voice.adapter else self

    @property
    def styles(self) -> tuple[str, ...]:
        """Tags that the language model obeys: styles of `glmtts.text.styles`, and "laughter"."""
        return self.lm.config.styles

    def sentences(
        self, text: str, options: SpeakOptions | None = None, voice: Voice | None = None
    ) -> list[str]:
        """The sentences that `stream` speaks one by one, as they will be read.

        Numbers alone are read in the language of `voice`.

        Raises:
            BadText: nothing in the text can be spoken, or a reading in it does not exist.
            BadInput: the lexicon cannot be read.
        """
        return [sentence.text for sentence in self._read(text, options, voice) if sentence.text]

    def _read(self, text: str, options: SpeakOptions | None, voice: Voice | None) -> list[Sentence]:
        lexicon = Lexicon.opened(options.lexicon) if options else None
        lang = voice.language if voice is not None else ""
        sentences = self.frontend(text, lexicon, lang if lang in ("zh", "en") else "auto")
        if options is None or options.style in (None, NEUTRAL):
            return sentences
        if options.style not in self.styles:
            known = ", ".join(self.styles) or "none"
            raise BadInput(
                f"This model does not speak {options.style!r} at will; it knows {known}. Leave "
                "the style out, or clone a clip that is spoken so."
            )
        return [replace(s, style=s.style or options.style) for s in sentences]

    def stream(
        self,
        text: str | Iterable[str],
        voice: Voice | None = None,
        options: SpeakOptions | None = None,
    ) -> Iterator[Audio]:
        """Speak `text` in `voice`, yielding sound as soon as it is final.

        Closing the iterator stops the work. With the default pace each piece is one sentence; its
        `finish_reason` tells how the language model ended it.

        Args:
            text: A text, or pieces of one as they come (token by token from a language model). A
                sentence is spoken once it is certain to be complete; a piece that ends in a blank
                line, and the end, say so too.
            voice: Who speaks; by default the model's own for the language of (the first) text.
            options: How.

        Raises:
            BadText: nothing in the text can be spoken, or a reading in it does not exist.
            BadInput: the voice was made for another model, or the lexicon cannot be read.
            Cancelled: nobody waits for it any more (see `glmtts.wanted`).
        """
        with closing(self.pieces(text, voice, options)) as pieces:
            for piece in pieces:
                yield piece.audio

    def pieces(
        self,
        text: str | Iterable[str],
        voice: Voice | None = None,
        options: SpeakOptions | None = None,
    ) -> Generator[Piece]:
        """As `stream`; each piece of sound knows the sentence it is of."""
        options = options or SpeakOptions()
        if voice is not None and voice.adapter:
            yield from self.adapted(voice).pieces(text, replace(voice, adapter=""), options)
            return
        rng = self.lm.generator(options.sampling.seed)
        flow_options = options.flow or self.flow_options
        if isinstance(text, str):
            voice = voice or self.default_voice(text)
            known = text, self._readable(text, options, voice)  #           text -> sentences
            alone = len(known[1]) == 1

            def chunks(wanted: Callable[[], bool]) -> Iterator[Chunk]:
                yield known
        else:
            chunks, alone = partial(self._arriving, text, options, voice), False

        def make(wanted: Callable[[], bool]) -> Iterator[Block]:
            return self._blocks(chunks(wanted), voice, options, rng, wanted)

        streams: tuple[Any, Any] | None = None
        lead = torch.zeros(0)

        def opening_for(voice: Voice, blocks: tuple[int, ...]) -> Opening:
            return self._openings.of(self.flow, voice, replace(flow_options, blocks=blocks))

        with Ahead(make, depth=1) as blocks:  #                             sentences -> S ids
            if voice is not None:  # while the first tokens are drawn
                with self.turn(), at_most(max(1, torch.get_num_threads() - blocks.working)):
                    opening_for(voice, options.pace.of(0).blocks)
            for block in blocks:
                silence = torch.zeros(round(block.pause_s * self.sample_rate))
                if not block.speech:
                    yield Piece(Audio(silence, self.sample_rate, "stop"), block)
                    continue
                with self.turn(), at_most(max(1, torch.get_num_threads() - blocks.working)):
                    check_wanted()
                    if streams is None:
                        opening = opening_for(block.voice, block.pace.blocks)
                        streams = opening.stream(), self.vocoder.stream()
                    mel, wave = streams
                    frames = mel.push(  #                                   (s,) -> (f, M)
                        block.told, last=block.last, laughing=block.laughing
                    )
                    frames = stretched(frames, options.speed)
                    samples = wave.push(frames, last=block.last)  #         (f, M) -> (n,)
                    spoken = samples.float().cpu()
                lead = torch.cat([lead, torch.zeros(round(block.lead_s * self.sample_rate))])
                if alone and block.last and not block.pace.blocks:
                    lead, silence = self._roomy(lead, len(spoken), silence)
                if block.last or spoken.numel():
                    sound = torch.cat([lead, spoken, silence] if block.last else [lead, spoken])
                    audio = Audio(sound, self.sample_rate, block.finish_reason)
                    yield Piece(audio, block, len(lead) / self.sample_rate)
                    lead = lead[:0]
                if block.last:
                    streams = None

    def _roomy(self, lead: Tensor, spoken: int, silence: Tensor) -> tuple[Tensor, Tensor]:
        """The silence around a text of one sentence, which may be a single syllable."""
        least = round(self.manifest.least_s * self.sample_rate)
        missing = max(0, least - len(lead) - spoken - len(silence))
        ahead = missing // 3  # it is waited for
        return F.pad(lead, (ahead, 0)), F.pad(silence, (0, missing - ahead))

    def _arriving(
        self,
        text: Iterable[str],
        options: SpeakOptions,
        voice: Voice | None,
        wanted: Callable[[], bool],
    ) -> Iterator[Chunk]:
        """Sentences of a text that comes in pieces; it may be waited for in a thread of its own."""
        spoken = False
        with Ahead(lambda _: whole_sentences(text), depth=16, patient=False) as arriving:
            for chunk in arriving.until(wanted):
                if re.search(r"[^\W_]", chunk):  # not marks alone
                    voice = voice or self.default_voice(chunk)
                    yield chunk, self._readable(chunk, options, voice)
                    spoken = True
        if not spoken and wanted():
            raise BadText("Nothing in the text can be spoken: no words came.")

    def _blocks(
        self,
        chunks: Iterable[Chunk],
        voice: Voice | None,
        options: SpeakOptions,
        rng: torch.Generator,
        wanted: Callable[[], bool],
    ) -> Iterator[Block]:
        """The language model's half of `stream`: speech tokens, sentence by sentence.

        It works one block ahead, in a thread of its own, while flow and vocoder make sound of the
        block before.

        Raises:
            BadInput: the voice was made for another model, or a sentence is too long for it.
            SpeechError: a sentence came out without any sound.
            Cancelled: `wanted()` has become false.
        """
        prompt, count = Prompt(), 0
        for text, sentences in chunks:
            if voice is None:
                voice = self.default_voice(text)
            prompt = prompt if count else voice.prompt
            for sentence, reading in sentences:
                pace = options.pace.of(count)
                if reading is None:
                    yield Block([], sentence, voice, pace, last=True, speech=False)
                    continue
                count += 1
                text_ids = reading.ids  #                                   sentence -> (T,)
                prompt = prompt.before(len(text_ids), self.manifest.history_tokens)
                heard = self.audible(
                    prompt, voice, sentence.text, sentence.style, ids=len(text_ids)
                )
                tokens = self._tokens(reading, heard, options.sampling, pace, rng, wanted)
                pauses = self._pauses(reading)
                # Nobody waits for what is not the first sound.
                lead_s = 0.0 if pace.blocks and count == 1 else self.manifest.lead_s
                spoken: list[int] = []
                with closing(tokens):
                    known = while_wanted(tokens, wanted)
                    for drawn, last in pace.cut(known, self._look_ahead):  # (T,) -> S ids
                        block = pauses.put(spoken, drawn, last=last) if pauses else drawn
                        spoken += block
                        reason = tokens.finish_reason if last else None
                        done = tuple(spoken) if last else ()
                        said = spoken, reading.phonemes, reading.laughs
                        told = self.telling(*said, whole=last, style=reading.style)
                        laughing = self.laughing(*said, whole=last)
                        fresh = len(spoken) - len(block)
                        yield Block(
                            block, sentence, voice, pace,
                            last=last, finish_reason=reason, utterance=done,
                            told=tuple(told[fresh:]), laughing=tuple(laughing[fresh:]),
                            lead_s=lead_s,
                        )  # fmt: skip
                        lead_s = 0.0
                if self.manifest.history_tokens:
                    prompt = prompt.extended(text_ids, spoken, limit=None)

    def speak(
        self,
        text: str | Iterable[str],
        voice: Voice | None = None,
        options: SpeakOptions | None = None,
    ) -> Audio:
        """Speak `text` in `voice`: all of `stream`, joined.

        Raises:
            BadText: nothing in the text can be spoken.
            BadInput: the voice was made for another model.
        """
        return Audio.concat(list(self.stream(text, voice, options)))

    def reader(self, policy: Policy | None = None) -> TextReader:
        """What turns sentences into text ids for this model."""
        return TextReader(self.text_tokenizer, self.manifest.phonemes, policy, self.styles)

    def _readable(
        self, text: str, options: SpeakOptions, voice: Voice | None
    ) -> list[tuple[Sentence, Reading | None]]:
        """The sentences of `text` with their ids (None: a pause alone).

        Those (of signs no dictionary reads) that have no ids are left out.
        """
        reader = self.reader(options.phonemes)
        sentences = self._read(text, options, voice)
        readable: list[tuple[Sentence, Reading | None]] = []
        for sentence in sentences:
            try:
                readable.append((sentence, reader.read(sentence) if sentence.text else None))
            except BadText as error:
                if len(sentences) == 1:
                    raise
                log.warning("Left out, it cannot be read: %r (%s)", sentence.text, error)
        if not any(reading for _, reading in readable):
            raise BadText(f"Nothing in the text can be spoken: {text.strip()[:40]!r}.")
        return readable

    def _tokens(
        self,
        reading: Reading,
        prompt: Prompt,
        sampling: Sampling,
        pace: Pace,
        rng: torch.Generator,
        wanted: Callable[[], bool],
    ) -> Tokens:
        """Speech tokens: block by block when sound must start early, else checked and retried."""
        lm: SpeechLM = self.shared_lm or self.lm
        sampling = self.sampling(sampling, reading.style)
        judge = None
        if self.proofreader is not None:
            judge = self.proofreader.judge(reading.phonemes, reading.laughs, reading.style)
        if pace.blocks:
            marks = Marks(pace.blocks, self._look_ahead)
            return lm.generate(reading.ids, prompt, sampling, rng=rng, judge=judge, marks=marks)
        tokens, reason = lm.generate_checked(
            reading.ids, prompt, sampling, rng=rng, judge=judge, wanted=wanted
        )
        if judge and prompt.turns and (wrong := _misread(judge, tokens)) > sampling.accept:
            # The clip leads it astray: it says something else than its transcript, or goes too far.
            alone, how = lm.generate_checked(
                reading.ids, Prompt(), sampling, rng=rng, judge=judge, wanted=wanted
            )
            if _misread(judge, alone) < wrong:
                tokens, reason = alone, how
        if not tokens:
            raise SpeechError("The model gave no sound for a sentence. Try another seed or voice.")
        return FinishedTokens(tokens, reason)

    def _pauses(self, reading: Reading) -> ListPauses | None:
        """What puts pauses between the items of a list; None where there is none, or no need."""
        seconds = self.manifest.list_pause_s
        if not reading.pauses or reading.laughs or not seconds or self.proofreader is None:
            return None
        least = round(seconds * self.manifest.audio.tokens_per_second)
        silent = self.lm.config.silence_ids
        return ListPauses(self.proofreader, reading.phonemes, reading.pauses, silent, least)

    def telling(
        self,
        tokens: Sequence[int],
        phonemes: Sequence[str],
        laughs: Sequence[int] = (),
        *,
        whole: bool = True,
        style: str | None = None,
    ) -> list[int]:
        """Speech tokens as the flow is given them: with what they say and how, if it listens.

        Args:
            tokens: (S,) those of a sentence, or of its beginning.
            phonemes: (T,) of the sentence.
            laughs: For each laugh how many phonemes stand before it.
            whole: The tokens are all of the sentence.
            style: In which it is said.
        """
        network = self.flow.config.network
        if self.proofreader is None or not network.phonemes:
            return list(tokens)
        classes = self.proofreader.classes(tokens, phonemes, laughs, whole=whole)
        manner = style_class(style)
        return [
            dit.told(token, said, network, manner)
            for token, said in zip(tokens, classes, strict=True)
        ]

    def laughing(
        self,
        tokens: Sequence[int],
        phonemes: Sequence[str],
        laughs: Sequence[int],
        *,
        whole: bool = True,
    ) -> list[bool]:
        """Which of (S,) speech tokens are of a laugh, see `telling`; empty where none can be."""
        if self.proofreader is None or not laughs:
            return []
        return self.proofreader.laughing(tokens, phonemes, laughs, whole=whole)

    @property
    def _look_ahead(self) -> int:
        """Tokens behind a block that the flow must know before it speaks the block."""
        return self.flow.config.network.lookahead_tokens

    def audible(
        self,
        prompt: Prompt,
        voice: Voice,
        sentence: str,
        style: str | None = None,
        learnt: Sequence[str] | None = None,
        ids: int = 0,
    ) -> Prompt:
        """The prompt the language model is given for a sentence.

        Args:
            prompt: What it could be given.
            voice: Who speaks.
            sentence: What is said.
            style: How.
            learnt: Tags that the language model obeys; None: those of this model.
            ids: How many text ids the sentence has.
        """
        m = self.manifest
        foreign = voice.language in ("zh", "en")
        foreign = foreign and (voice.language == "zh") != is_mandarin(sentence)
        length = sum(len(turn.speech_tokens) for turn in prompt.turns[: prompt.own])
        unfit = foreign and not m.foreign_prompts
        if m.sequence_length and prompt.turns:
            read = sum(len(turn.text_ids) for turn in prompt.turns)
            heard = sum(len(turn.speech_tokens) for turn in prompt.turns)
            pace = heard / max(1, read)  # it will be said as quickly as the clip
            unfit = unfit or read + heard + ids * (1 + pace) > m.sequence_length
        if not m.tagged_prompts:
            learnt = self.lm.config.styles if learnt is None else learnt
            unfit = unfit or style in learnt or (LAUGHTER in learnt and bool(laughs(sentence)))
        if unfit or length > m.prompt_tokens:
            return Prompt()
        return prompt.rested(self.lm.config.silence_ids, REST_TOKENS)


def _with_letters(text: str) -> str:
    """`text`, or, where it has no letter, what its beginning is read as."""
    if re.search(r"[^\W\d_]", text):
        return text
    try:
        return normalise(text[:200])
    except BadText:
        return text


def _misread(judge: Judge, tokens: Sequence[int]) -> float:
    return judge.misread(tokens) if tokens else math.inf


def stretched(mel: Tensor, speed: float) -> Tensor:
    """Mel frames at another tempo by linear interpolation, pitch kept: (F, M) -> (F / speed, M)."""
    if speed == 1.0 or len(mel) == 0:
        return mel
    frames = max(1, round(len(mel) / speed))
    return F.interpolate(mel.T[None], size=frames, mode="linear", align_corners=False)[0].T
