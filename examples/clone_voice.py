"""Clone a voice and say a sentence in it.

python examples/clone_voice.py clip.wav "What the clip says." "很高兴认识你。" cloned.wav
"""

import sys

from glmtts import Audio, Synthesizer


def main(clip: str, transcript: str, text: str, path: str) -> None:
    synthesizer = Synthesizer.load()
    voice = synthesizer.voice(Audio.load(clip), transcript)
    parts = list(synthesizer.stream(text, voice))  # in earnest, play each part as it comes
    Audio.concat(parts).save(path)
    print(f"{path}: {sum(part.seconds for part in parts):.1f} s after {voice.mel.shape[0]} frames")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
