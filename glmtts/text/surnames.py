"""Surnames that are read otherwise than the character is elsewhere."""

_READINGS = """
单:shan4 仇:qiu2 解:xie4 任:ren2 曾:zeng1 区:ou1 查:zha1 盖:ge3 朴:piao2 华:hua4 燕:yan1 纪:ji3
那:na1 乐:yue4 翟:zhai2 冼:xian3 员:yun4 缪:miao4 召:shao4 葛:ge3 柏:bai3 卜:bu3 句:gou1 过:guo1
哈:ha3 应:ying1 曲:qu1 种:chong2 折:she2 黑:he4 繁:po2 覃:qin2 谌:chen2 逄:pang2 祭:zhai4 车:che1
牟:mu4 冯:feng2 盛:sheng4 殷:yin1 臧:zang1 占:zhan1 瞿:qu2 阚:kan4 郗:xi1 甯:ning4 乜:nie4 薄:bo2
洗:xian3 尉:wei4 宓:mi4 隗:wei3 钭:tou3 眭:sui1 笪:da2 厍:she4 晁:chao2 郄:qie4 佴:nai4 於:yu1
晟:cheng2 宁:ning2 秘:bi4 贾:jia3 逯:lu4 訾:zi1 麴:qu1 妫:gui1 仉:zhang3 禚:zhuo2 璩:qu2 亓:qi2
郜:gao4 晏:yan4 能:nai4 适:kuo4
"""
SURNAMES = {item[0]: item[2:] for item in _READINGS.split()}
"""Reading of a character as a surname."""

RARELY = frozenset("那盖员召句过哈应种折黑繁祭车洗能适占都晟宓於乜")
"""Surnames only before a title or after 姓: elsewhere they are another word."""

WORDS_TOO = frozenset("解任曾查区单华乐燕葛柏卜纪宁秘薄盛殷贾强")
"""Surnames that are also common words: less likely before one character alone."""

DOUBLE_SURNAMES = {
    "尉迟": "yu4 chi2", "万俟": "mo4 qi2", "令狐": "ling2 hu2", "长孙": "zhang3 sun1",
    "澹台": "tan2 tai2", "单于": "chan2 yu2", "皇甫": "huang2 fu3", "诸葛": "zhu1 ge3",
    "宇文": "yu3 wen2", "司马": "si1 ma3", "欧阳": "ou1 yang2", "上官": "shang4 guan1",
    "夏侯": "xia4 hou2", "慕容": "mu4 rong2", "司徒": "si1 tu2", "公孙": "gong1 sun1",
    "独孤": "du2 gu1", "端木": "duan1 mu4", "东方": "dong1 fang1", "南宫": "nan2 gong1",
    "轩辕": "xuan1 yuan2", "呼延": "hu1 yan2", "鲜于": "xian1 yu2", "濮阳": "pu2 yang2",
    "钟离": "zhong1 li2", "太史": "tai4 shi3", "闻人": "wen2 ren2", "申屠": "shen1 tu2",
    "宗政": "zong1 zheng4", "淳于": "chun2 yu2", "赫连": "he4 lian2", "拓跋": "tuo4 ba2",
    "完颜": "wan2 yan2", "耶律": "ye1 lv4", "爱新觉罗": "ai4 xin1 jue2 luo2", "区阳": "ou1 yang2",
}  # fmt: skip
"""Surnames of two characters, with their readings."""

_TITLES = """
先生 女士 小姐 老师 教授 经理 主任 医生 大夫 局长 市长 书记 同志 师傅 老板 博士 校长 院长 队长
处长 科长 部长 县长 省长 厅长 镇长 乡长 村长 所长 站长 团长 班长 组长 连长 营长 排长 师长 军长
将军 律师 警官 法官 太太 夫人 爷爷 奶奶 叔叔 阿姨 大爷 大妈 大哥 大姐 总裁 董事长 总经理 秘书 会计
导演 编辑 记者 同学 护士 公子 姑娘 大人 丞相 员外 司令 参谋 政委 总统 总理 主席 掌柜 老先生 老太太
教练 助理 主管 会长 社长 店长 厂长 馆长 园长 行长 台长 警长 工程师 大叔 大婶 道长 师父 府 氏 某
某某 总
"""
TITLES = {title: 4.5 if len(title) > 1 else 5.5 for title in _TITLES.split()}
"""What may stand behind a surname without a given name, with its cost (`glmtts.text.words`)."""
