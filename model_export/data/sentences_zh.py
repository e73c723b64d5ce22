"""Chinese sentences that ask for a picture: a frame around measure word, adjectives and noun."""

from random import Random

from model_export.data.data import ANIMALS, FOOD
from model_export.data.sentences import STRANGE, talk
from model_export.data.subjects import COLOURS_ZH

# "{}" is the thing with what stands before it: "一只可爱的老虎", "大老虎", "老虎".
FRAMES = (
    "请画出{}", "请帮我画{}", "请给我画{}", "帮我画{}", "给我画出{}", "画出{}", "来{}",
    "给我来{}", "我要{}", "我想要{}", "我想要看{}", "我想看看{}", "想看{}", "让我看看{}",
    "给我看{}", "请给我看{}", "能画{}吗", "你能画{}吗", "能不能画{}", "可以画{}吗",
    "可以给我画{}吗", "麻烦画{}", "请生成{}", "生成{}", "生成{}的图片", "请生成{}的图像", "做{}",
    "设计{}", "{}的图片", "{}的照片", "{}的画", "{}的插画", "{}的图标", "{}的表情", "{}表情",
    "{}表情符号", "{}图片", "{}图标", "{}贴图", "一张{}的图片", "一张{}的照片", "一幅{}的画",
    "一个{}的图标", "一张{}的贴图", "一幅画着{}的画", "这是{}呀", "那是{}", "这里有{}", "有{}吗",
    "有没有{}", "我喜欢{}", "我爱{}", "我家的{}", "妈妈的{}", "弟弟想要{}", "女儿喜欢{}",
    "我看见了{}", "看，{}", "{}，谢谢", "{}，白色背景", "白色背景上的{}", "白底的{}", "卡通{}",
    "卡通风格的{}", "{}，卡通风格", "只画{}", "我梦见了{}", "送给朋友的{}", "生日卡上的{}",
    "{}！", "{}。",
)  # fmt: skip
OPENINGS = (
    "今天", "昨天看到", "明天要", "早上的", "我们的", "他们有", "老师画的", "同学带来",
    "爷爷说的", "姐姐画了", "公园里的", "桌上的", "厨房里的", "街上的", "窗边的", "城里的",
    "听说有", "其实是", "我觉得是", "遇到", "马上画", "赶快来", "一起看", "慢慢画", "认真画",
    "用铅笔画", "用彩笔画", "在纸上画", "在墙上画", "电影里的", "书里的", "网上的", "故事里的",
    "邻居的", "朋友送的", "爸爸买的", "刚买的", "隔壁的", "从前有", "别忘了", "想起", "关于",
    "主题：", "如果可以，", "接下来是", "首先，", "谁有", "到处都是", "不是人，而是", "海报上的",
)  # fmt: skip
ENDINGS = (
    "吧", "啊", "呢", "好不好", "可以吗", "怎么样", "真不错", "在哪里", "来了", "走了", "多少钱",
    "太棒了", "很重要", "在笑", "很高兴", "真好玩", "给妈妈", "给大家", "快一点", "要清楚",
    "放中间", "不要文字", "的故事", "的歌", "向左看", "站在窗边", "和朋友", "就行", "对不对",
    "没有了", "送给你", "每天都有",
)  # fmt: skip
ADJECTIVES = (
    "很可爱的", "非常可爱的", "小小的", "小", "大大的", "很大的", "很小的", "巨大的", "漂亮的",
    "美丽的", "好看的", "简单的", "开心的", "快乐的", "有趣的", "新的", "普通的", "完美的",
    "帅气的", "迷你", "胖胖的", "真正的",
)  # fmt: skip
LIVELY = (
    "可爱的小", "睡着的", "野生的", "聪明的", "勇敢的", "害羞的", "毛茸茸的", "活泼的", "年轻的",
)  # fmt: skip
TASTY = (
    "新鲜的", "好吃的", "美味的", "甜甜的", "熟透的", "香香的",
)  # fmt: skip
MEASURES = {
    "条": ("鱼", "蛇", "鳄鱼", "龙", "虫", "香肠", "热狗", "丝带", "红薯"),
    "朵": ("花", "玫瑰", "郁金香", "向日葵", "芙蓉", "云", "蘑菇"),
    "棵": ("树", "仙人掌", "白菜", "西兰花", "草", "苗"),
    "根": ("香蕉", "胡萝卜", "玉米", "黄瓜", "羽毛", "面包", "竿", "棒", "糖"),
    "颗": ("草莓", "樱桃", "葡萄", "栗子", "星", "蓝莓", "心", "豆"), "辆": ("车",),
    "架": ("飞机",), "艘": ("船", "艇"), "座": ("山", "楼", "塔", "城堡", "教堂"),
    "杯": ("酒", "茶", "奶", "饮", "咖啡"), "匹": ("马", "斑马"),
    "头": ("牛", "象", "猪", "驴", "犀牛"), "片": ("叶", "芝士"), "把": ("伞", "刀", "枪"),
    "块": ("蛋糕", "饼", "饼干", "巧克力", "肉"), "盘": ("饭", "面条"),
}  # fmt: skip
COUNTS = ("一",) * 8 + ("两", "三", "几", "那", "这", "另一", "许多")

COUNTED, FRAMED, TALK = 0.62, 0.5, 0.32  # shares: counted, a frame, an opening or an ending


def sentence_zh(noun: str, group: int, random: Random, colour: str | None = None) -> str:
    """Return a sentence that asks for a thing of an emoji group, in a colour if one is given."""
    more = {ANIMALS: LIVELY, FOOD: TASTY}.get(group, ())
    words = [_adjective(ADJECTIVES + more * 2, random)] if random.random() < 0.35 else []
    if colour:
        word = COLOURS_ZH[colour]
        words.append(random.choice((f"{word}色的", f"{word}色的", f"{word}色", word)))
    thing = "".join([*words, noun])
    share = random.random()
    frame = random.choice(FRAMES) if share < FRAMED else "{}"
    if random.random() < COUNTED and not frame.startswith("一"):  # one count is enough
        thing = random.choice(COUNTS) + _measure(noun, group, random) + thing
    if FRAMED < share < FRAMED + TALK:
        return talk(thing, OPENINGS, ENDINGS, unknown_characters, random, gap="")
    return frame.format(thing)


def unknown_characters(random: Random, most: int = 5) -> str:
    """Return common characters in no order, so that a model learns to pass over words."""
    return "".join(_common_character(random) for _ in range(random.randint(1, most)))


def _common_character(random: Random) -> str:
    # Full rows of the first level of GB 2312, the 3,755 most frequent ones.
    pair = bytes((random.randrange(0xB0, 0xD7), random.randrange(0xA1, 0xFF)))
    return pair.decode("gb2312")


def _adjective(adjectives: tuple[str, ...], random: Random) -> str:
    if random.random() < STRANGE:
        return unknown_characters(random, 2) + random.choice(("的", ""))
    return random.choice(adjectives)


def _measure(noun: str, group: int, random: Random) -> str:
    """Return a measure word: the one for its kind, or now and then the one for everything."""
    if random.random() < 0.15:
        return "个"
    return measure(noun, group)


def measure(noun: str, group: int) -> str:
    """Return the measure word of a noun, by how it ends."""
    ends = ((end, word) for word, nouns in MEASURES.items() for end in nouns if noun.endswith(end))
    longest = max(ends, key=lambda found: len(found[0]), default=("", ""))[1]
    return longest or ("只" if group == ANIMALS else "个")
