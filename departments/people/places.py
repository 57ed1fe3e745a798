"""Region codes (GB/T 2260), addresses and property units (28 characters) of the made-up district."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from random import Random

from departments.people.mixing import mix, spread

HOME_REGION = "341503"
HOME = "安徽省六安市裕安区"
_STREETS = (
    "鼓楼街道", "西市街道", "小华山街道", "平桥乡", "城南镇", "独山镇", "苏埠镇", "韩摆渡镇",
    "分路口镇", "江家店镇", "单王乡", "青山乡", "石板冲乡", "西河口乡", "丁集镇", "固镇镇",
    "徐集镇", "狮子岗乡", "罗集乡", "新安镇", "顺河镇", "石婆店镇",
)  # fmt: skip
_ROADS = (
    "解放路", "人民路", "梅山路", "龙河路", "佛子岭路", "磨子潭路", "大别山路", "云露街", "健康路", "皋城路",
    "淠河大道", "青山路",
)  # fmt: skip
_ESTATE_FIRST = "碧春翠东枫芙光桂海鹤红湖华吉佳江锦景菊康兰丽柳龙绿梅南平清瑞山盛水松天望文西祥馨"
_ESTATE_SECOND = (
    "苑", "园", "庭", "湾", "府", "城", "轩", "居", "里", "坊", "郡", "台",
    "谷", "岸", "院", "邸", "和苑", "和园", "华庭", "水湾", "景府", "新城", "雅轩", "福居",
    "秀里", "茗坊", "都郡", "月台", "阳谷", "江岸", "书院", "官邸",
)  # fmt: skip
_ESTATES = len(_ESTATE_FIRST) * len(_ESTATE_SECOND)
_PER_ESTATE = 480  # 20 buildings of 2 entrances, 6 floors, 2 rooms
_FLATS = _ESTATES * _PER_ESTATE


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """外地. A county outside the district: region code, and an address down to the street."""

    region: str
    street: str


# Between them these codes weigh every remainder modulo 11, so that for any birthday and order number one of them gives
# an ID number that ends in X (a test holds this).
ELSEWHERE = (
    Elsewhere("341502", "安徽省六安市金安区中市街道"),
    Elsewhere("341522", "安徽省六安市霍邱县城关镇"),
    Elsewhere("341523", "安徽省六安市舒城县城关镇"),
    Elsewhere("341524", "安徽省六安市金寨县梅山镇"),
    Elsewhere("341525", "安徽省六安市霍山县衡山镇"),
    Elsewhere("340104", "安徽省合肥市蜀山区三里庵街道"),
    Elsewhere("340123", "安徽省合肥市肥西县上派镇"),
    Elsewhere("320106", "江苏省南京市鼓楼区宁海路街道"),
    Elsewhere("310115", "上海市浦东新区陆家嘴街道"),
    Elsewhere("330106", "浙江省杭州市西湖区古荡街道"),
    Elsewhere("420106", "湖北省武汉市武昌区黄鹤楼街道"),
    Elsewhere("420102", "湖北省武汉市江岸区一元街道"),
    Elsewhere("410102", "河南省郑州市中原区建设路街道"),
    Elsewhere("522601", "贵州省黔东南苗族侗族自治州凯里市西门街道"),
    Elsewhere("653101", "新疆维吾尔自治区喀什地区喀什市恰萨街道"),
    Elsewhere("540102", "西藏自治区拉萨市城关区吉日街道"),
)


def home_region(born: date) -> str:
    """The code that the district's numbers carry: it was 六安县 until 1992 and part of 六安市 (county level) until 1999."""
    if born.year < 1992:
        return "342421"
    return "342401" if born.year < 2000 else HOME_REGION


def elsewhere(rng: Random) -> Elsewhere:
    """A county outside the district."""
    return rng.choice(ELSEWHERE)


def address_elsewhere(rng: Random, county: Elsewhere) -> str:
    """A full address in a county outside the district."""
    return f"{county.street}{rng.choice(_ROADS)}{rng.randrange(1, 300)}号"


@dataclass(frozen=True, slots=True)
class Place:
    """坐落. A flat in the district: its address and its property unit number (不动产单元号, 28 characters)."""

    address: str
    unit: str


def place(seed: int, number: int) -> Place:
    """The flat with this number; different numbers below 600,000 give different flats."""
    estate, within = divmod(spread(number, _FLATS, mix(seed, 20) % 20_480 * 30 + 7, mix(seed, 21) % _FLATS), _PER_ESTATE)
    building, rest = divmod(within, 24)
    entrance, door = divmod(rest, 12)
    room = (door // 2 + 1) * 100 + door % 2 + 1
    street = estate % len(_STREETS)
    name = _ESTATE_FIRST[estate // len(_ESTATE_SECOND)] + _ESTATE_SECOND[estate % len(_ESTATE_SECOND)]
    road = _ROADS[estate % len(_ROADS)]
    address = f"{HOME}{_STREETS[street]}{road}{name}{building + 1}幢{entrance + 1}单元{room}室"
    parcel = f"{HOME_REGION}{street + 1:03d}{estate % 97 + 1:03d}GB{estate + 1:05d}"
    unit = f"{parcel}F{building + 1:04d}{entrance * 12 + door + 1:04d}"
    return Place(address, unit)


def office(rng: Random) -> str:
    """The address of a firm in the district."""
    return f"{HOME}{rng.choice(_STREETS)}{rng.choice(_ROADS)}{rng.randrange(1, 400)}号"
