"""Readings that the text forces are heard in the speech. Run on request:

    pytest -m slow -s tests/spoken      (extra eval; GLMTTS_MODEL names another model than nano)

The judge is Whisper, which took no part in training or choosing: of two transcripts that differ in
the written character alone, one with characters that are only read as forced, one with characters
only read as usual, it tells which fits the sound better (teacher-forced log-probability).
"""

import os
import re
from functools import lru_cache

import pytest
from pypinyin import Style, lazy_pinyin

from glmtts import Audio, Sampling, SpeakOptions, Synthesizer
from glmtts.recognizer import Recognizer
from glmtts.text import chinese
from glmtts.text.hybrid import is_plain

pytestmark = pytest.mark.slow

FORCED = """
这棵树长[chang2]大了。 他是我们的校长[chang2]。 这条路很长[zhang3]。 我在银行[xing2]上班。
请你自己行[hang2]动。 这个箱子很重[chong2]。 请你重[zhong4]新开始。 他喜欢听音乐[le4]。
祝你生日快乐[yue4]。 我还[huan2]没有吃饭。 请把书还[hai2]给我。 我们都[du1]去学校。
北京是中国的首都[dou1]。 他走不了[le5]这么远。 这件事我了[le5]解。 他觉[jiao4]得很累。
我昨天睡觉[jue2]很早。 这里的空调[diao4]坏了。 他被调[tiao2]到上海去了。 她会弹[dan4]钢琴。
西藏[cang2]的天很蓝。 他把钱藏[zang4]在家里。 请系[xi4]好安全带。 我们没有关系[ji4]。
敌人投降[jiang4]了。 今天气温下降[xiang2]。 他把钱省[xing3]下来。 他经常出差[cha4]。
我的自传[chuan2]写完了。 请把球传[zhuan4]给我。 会[kuai4]议马上开始。 他在公司做会[hui4]计。
单[shan4]位离家很远。 我曾[zeng1]经去过那里。 请查[zha1]一下地图。 学校[jiao4]放假了。
这件衣服很便[bian4]宜。 请方便[pian2]的时候来。 他的效率[shuai4]很高。 三角[jue2]形有三条边。
"""
HARD = """
银行行长重新长跑。 他还得还钱，得赶紧走。 曾先生曾经查过查先生的账。 单于和单小姐都在六安。
乐山的乐声很快乐。 这个会计会计算。 他数了数数学题的数目。 番禺和铅山都很美。
朝阳区的朝阳真好看。 校对员在学校校对。 大夫和丈夫都在蔚县。 他着急地找着了睡着的孩子。
魑魅魍魉，饕餮耄耋。 他率领的队伍效率很高。 那个鸟弹琴，子弹飞。 把卷子卷起来放好。
"""


def cases() -> list[tuple[str, int, str, str]]:
    """(sentence as written, place of the character, forced reading, usual reading)."""
    found: list[tuple[str, int, str, str]] = []
    for written in FORCED.split():
        match = re.search(r"\[([a-z]+\d)\]", written)
        assert match is not None, written
        plain = written.replace(match[0], "")
        place = match.start() - 1
        found.append((written, place, match[1], chinese.read(plain)[place].syllable))
    return found


@lru_cache(maxsize=1)
def homophones() -> dict[str, list[str]]:
    """Common characters with one reading, by that reading."""
    table: dict[str, list[str]] = {"le4": ["勒"]}  # no character is read le alone
    for code in range(0xB0A1, 0xD7FA):
        char = code.to_bytes(2, "big").decode("gb2312", "ignore")
        if len(char) == 1 and is_plain(char):
            for syllable in chinese.pinyin(char):
                table.setdefault(syllable, []).append(char)
    return table


def spelled(reading: str) -> list[str]:
    """Up to six characters for a reading; any tone of it where the tone has none."""
    known = homophones()
    found = known.get(reading, [])
    if not found:
        found = [c for tone in "1234" for c in known.get(reading[:-1] + tone, [])]
    return found[:6]


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    return Synthesizer.load(os.environ.get("GLMTTS_MODEL", "glmtts-nano"), device="cpu")


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer()


def fit(recognizer: Recognizer, audio: Audio, plain: str, place: int, reading: str) -> float:
    """The best log-probability of the sentence with the character spelled as `reading`."""
    texts = [plain[:place] + char + plain[place + 1 :] for char in spelled(reading)]
    return max(recognizer.likelihoods(audio, texts, "zh"))


def test_forced_readings_are_spoken(synthesizer: Synthesizer, recognizer: Recognizer) -> None:
    right, wrong = 0, list[str]()
    for number, (written, place, forced, usual) in enumerate(cases()):
        assert forced[:-1] != usual[:-1], f"{written}: {usual} is read without help"
        voice = synthesizer.voice(("bo", "jun", "lin", "mei")[number % 4])
        audio = synthesizer.speak(written, voice, SpeakOptions(sampling=Sampling(seed=number)))
        plain = re.sub(r"\[[a-z]+\d\]", "", written)
        gain = fit(recognizer, audio, plain, place, forced) - fit(
            recognizer, audio, plain, place, usual
        )
        right += gain > 0
        if gain <= 0:
            wrong.append(f"{written} ({gain:.1f})")
    print(f"\nforced readings heard: {right} of {len(cases())}; not: {'; '.join(wrong)}")
    assert len(cases()) == 40
    assert right >= 0.9 * len(cases())


def test_phonemes_help_where_text_is_hard(synthesizer: Synthesizer, recognizer: Recognizer) -> None:
    errors: dict[str, float] = {}
    for policy in ("off", "auto", "all"):
        wrong = total = 0
        for number, sentence in enumerate(HARD.split()):
            options = SpeakOptions(sampling=Sampling(seed=number), phonemes=policy)  # type: ignore[arg-type]
            audio = synthesizer.speak(sentence, synthesizer.voice("bo"), options)
            heard = recognizer.transcribe(audio, "zh").text
            wanted = [r.syllable[:-1] for r in chinese.read(sentence) if r.syllable]
            found = lazy_pinyin(re.sub(r"[^\u4e00-\u9fff]", "", heard), style=Style.NORMAL)
            wrong += distance(wanted, [syllable.replace("ü", "v") for syllable in found])
            total += len(wanted)
        errors[policy] = wrong / total
    print("\nsyllable error by policy:", {k: round(v, 3) for k, v in errors.items()})
    assert errors["all"] < errors["off"]


def distance(wanted: list[str], found: list[str]) -> int:
    """Levenshtein distance, at most the length of what was wanted."""
    row = list(range(len(found) + 1))
    for i, want in enumerate(wanted, 1):
        diagonal, row[0] = row[0], i
        for j, got in enumerate(found, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (want != got))
    return min(row[-1], len(wanted))
