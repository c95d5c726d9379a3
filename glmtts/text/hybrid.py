"""Which parts of a sentence are given as phonemes, and which as text. Read `as_phonemes` first.

The same choice serves speaking and training: training replaces some units at random, so that the
model learns to obey phonemes; speaking replaces those whose reading a model may not know (paper
§2.6).
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, Literal, Protocol

Policy = Literal["off", "auto", "all"]
"""off: text alone; auto: Hanzi with several readings and rare ones as phonemes; all: everything."""

_SEVERAL_READINGS = frozenset(
    "丧中为丽乐乘了予仅仆仇仔任会传伺似佃佛佣侗供侥侯便俩倒倔倘假傀傍兴兹冠冯几凹分切划创刨刹刽削"
    "剥剿劈劲勒匙区华卒单卜占卡卷厌厕厦叁参叉发句只召号吁吐吓吗否吭吱员呛呢咀咋和咖咯咱咳咽哄哆哈"
    "哑哗哦哩哪哮唬唯喇喝喳嗽嘎嘘嚣嚷嚼囊囤圈地场坊坷埋埔堡塞壳处夯夹奄奇奔好姥娜娩宁定宿将尉少尽"
    "尿屏属屯岂岗峙差帖幢干应度弦弹强当彭待徊得怔恫恶悄戌扁扇扎扒扛扫把折抡抢抹担拓拧择拽挑挝挟挣"
    "挨据捻掖掠掸掺揣搁搂摔撅撇撒撩擂擞攒教散数斗旋晃晕曝曰曲更曾朝朴杆杉柏柒柞查柴栅栖校框桔档棱"
    "椎楞槛模横橇氓汗汤没沤泊泌泡泥济涡涨淋混渐溅溜漂潦澄瀑炮炸烙煞熬燎燕爪父爸片牟狸率琢琶甚甲畜"
    "疟瘩瘪监盖盛相省看眯着瞄石硒碴磅磨禁种秤称秸空笼答粘糊系累繁纤纶结给绰绷绿缝翘翟耘耙耪耶肋肖"
    "肚背胖脉脊脏脯膀膏臭舍般色艾芍芥芯苫茄荤荫荷莎菌菲萎落著葛蒙蔓蔚薄藉藏虽虾蚂蚌蛆蛤蜒血行衣衰"
    "被裳褪要观觉角解谁调谜谩豁貉贾赚趟蹬蹲车轧转轴载辗辟还逮遂都重量钉钥钻铂铣铱铺锗镐长间闷阿降"
    "隆难露靡鞘顷颤驮骨鲜鳃"
)
"""Common Hanzi of which at least three in a hundred occurrences in the phrases of pypinyin-dict are
read differently from the others (neutral tone aside), with some that are names or verbs besides."""


class Random(Protocol):
    """What is needed of a random generator (numpy's)."""

    def random(self, size: int) -> Any:
        """`size` numbers from [0, 1), as an array that can be compared."""
        ...


def as_phonemes(
    units: Sequence[tuple[str, tuple[str, ...]]], policy: Policy, forced: Collection[int] = ()
) -> list[bool]:
    """For each unit whether it is written in phonemes.

    Args:
        units: Surface and phoneme tokens of each; punctuation has none and stays as it is.
        policy: Which of the others are.
        forced: Indices of those whose reading was given by the user: they are, always.
    """

    def wanted(surface: str) -> bool:
        return policy == "all" or (policy == "auto" and not is_plain(surface))

    return [
        bool(phonemes) and (index in forced or wanted(surface))
        for index, (surface, phonemes) in enumerate(units)
    ]


def at_random(count: int, rate: float, rng: Random) -> list[bool]:
    """For each of `count` units whether it is written in phonemes: each with the chance `rate`."""
    return (rng.random(count) < rate).tolist()


@lru_cache(maxsize=20_000)
def is_plain(surface: str) -> bool:
    """Whether a model knows by its text how a unit is read.

    That is so for Hanzi of the first level of GB2312 (the 3,755 common ones) with one usual
    reading, and for words.
    """
    if surface.isascii() or len(surface) != 1:
        return True
    code = surface.encode("gb2312", "ignore")
    return len(code) == 2 and 0xB0 <= code[0] < 0xD8 and surface not in _SEVERAL_READINGS
