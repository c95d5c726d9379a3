"""Say a sentence with the bundled model.

python examples/say.py "你好，世界。" hello.wav
"""

import sys

from glmtts import Sampling, SpeakOptions, Synthesizer


def main(text: str, path: str) -> None:
    synthesizer = Synthesizer.load()
    voice = synthesizer.default_voice(text)
    audio = synthesizer.speak(text, voice, SpeakOptions(sampling=Sampling(seed=0)))
    audio.save(path)
    print(f"{path}: {audio.seconds:.1f} s in the voice {voice.name} ({audio.finish_reason})")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["你好，世界。", "hello.wav"]))
