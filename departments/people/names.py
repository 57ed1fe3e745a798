"""Made-up names of people and firms, drawn from common characters."""

from __future__ import annotations

from random import Random

_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘蒋蔡余杜叶程苏"
_COMPOUND_SURNAMES = ("欧阳", "上官", "诸葛", "司马", "夏侯", "皇甫", "令狐", "慕容")
_MALE = "伟强磊军勇杰涛明超刚辉鹏华飞鑫波斌宇浩凯健俊帆博文志林峰海龙"
_FEMALE = "芳娜敏静丽艳娟霞燕玲桂英慧洁莉婷雪琳晶颖梅倩萍兰红云瑶欣怡佳"
_SHARED = "子一雨晓梓嘉若思建国春永新平安正立玉庆家"
_WEST_MALE = ("阿不都拉", "买买提", "艾力", "吐尔逊", "玉素甫", "哈斯木", "亚森", "克里木")
_WEST_FEMALE = ("阿依古丽", "热依汗", "帕提古丽", "米娜瓦尔", "古丽娜尔", "祖丽皮亚")
_OTHER_ETHNICITIES = ("回族", "满族", "苗族", "土家族", "壮族", "蒙古族", "藏族", "彝族", "侗族", "布依族")

HAN = "汉族"
UYGHUR = "维吾尔族"

_FIRM_FIRST = "安德恒鸿嘉金锦康隆启融瑞盛泰通同万祥信兴旭益永裕源远云泽正中卓"
_FIRM_SECOND = "邦博昌诚达丰富冠光海和弘华汇佳建杰利联美明宁鹏千荣润顺腾伟翔"
_TRADES = (
    ("建筑工程", "房屋建筑工程、市政工程施工"),
    ("食品", "食品生产、销售"),
    ("纺织", "纺织品、服装制造与销售"),
    ("物流", "普通货物道路运输、仓储服务"),
    ("电子科技", "电子产品研发、制造与销售"),
    ("农业发展", "农作物种植、农产品初加工"),
    ("商贸", "日用百货、五金交电批发与零售"),
    ("物业服务", "物业管理、家政服务"),
    ("新能源", "光伏设备及元器件销售、安装"),
    ("医疗器械", "第二类医疗器械销售"),
    ("文化传媒", "广告设计、制作与发布"),
    ("茶业", "茶叶种植、加工与销售"),
    ("机械制造", "通用零部件制造、机械设备维修"),
    ("信息技术", "软件开发、信息系统集成服务"),
    ("餐饮管理", "餐饮服务、餐饮企业管理"),
    ("环保", "环境保护专用设备销售、环境卫生管理"),
)
_SEATS = ("六安市", "安徽", "六安市裕安区")
FIRM_NAMES = len(_SEATS) * len(_FIRM_FIRST) * len(_FIRM_SECOND) * len(_TRADES)


def surname(rng: Random) -> str:
    """A surname; about one in a hundred has two characters."""
    return rng.choice(_COMPOUND_SURNAMES) if rng.random() < 0.01 else rng.choice(_SURNAMES)


def compound_surname(rng: Random) -> str:
    """A surname of two characters."""
    return rng.choice(_COMPOUND_SURNAMES)


def full_name(rng: Random, family: str, *, male: bool, short: float = 0.2) -> str:
    """Surname and one given character (with probability `short`) or two."""
    own = _MALE if male else _FEMALE
    given = rng.choice(own)
    return family + given if rng.random() < short else family + rng.choice(_SHARED) + given


def uyghur_name(rng: Random, father: str | None, *, male: bool) -> tuple[str, str]:
    """(full name with the middle dot, own given name); the second part is the father's given name."""
    given = rng.choice(_WEST_MALE if male else _WEST_FEMALE)
    father = father or rng.choice([name for name in _WEST_MALE if name != given])
    return f"{given}·{father}", given


def ethnicity(rng: Random) -> str:
    """Of a household: 96 in a hundred Han."""
    draw = rng.random()
    if draw < 0.96:
        return HAN
    return UYGHUR if draw < 0.965 else rng.choice(_OTHER_ETHNICITIES)


def firm_name(number: int) -> tuple[str, str]:
    """(name, business scope) for a number below FIRM_NAMES; different numbers give different names."""
    rest, trade = divmod(number, len(_TRADES))
    rest, second = divmod(rest, len(_FIRM_SECOND))
    seat, first = divmod(rest, len(_FIRM_FIRST))
    line, scope = _TRADES[trade]
    return f"{_SEATS[seat]}{_FIRM_FIRST[first]}{_FIRM_SECOND[second]}{line}有限公司", scope
