"""Pictures for products that bring none: a small SVG, drawn from the name and the category."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from html import escape
from string import Template

from domain.picture_shapes import ELECTRONICS, HOUSE, WEARABLES
from domain.picture_shapes_leisure import CARE_AND_TABLE, SPORT_AND_PLAY

PICTURE_SIDE_PX = 480
PICTURE_BYTES_MAX = 4096
TITLE_LENGTH_MAX = 160
FALLBACK_SHAPE = "box"

_SHAPES: dict[str, str] = {
    **WEARABLES,
    **ELECTRONICS,
    **HOUSE,
    **SPORT_AND_PLAY,
    **CARE_AND_TABLE,
}

# Which words of a name (or, failing that, of a category) call for which shape.
_WORDS_BY_SHAPE = {
    "shoe": "shoe shoes sneaker sneakers trainer trainers runner footwear loafer sandal oxford clog"
    " slipper slippers derby",
    "boot": "boot boots chukka wellington",
    "heel": "heel heels pump pumps stiletto",
    "shirt": "shirt tee polo blouse top flannel apparel clothing jersey underwear henley sweater"
    " pullover cardigan",
    "jacket": "jacket coat parka hoodie blazer windbreaker vest anorak fleece",
    "trousers": "trousers jeans pants chinos leggings shorts joggers",
    "dress": "dress skirt gown",
    "scarf": "scarf shawl wrap tie glove gloves socks",
    "cap": "cap hat beanie fedora helmet",
    "backpack": "backpack daypack rucksack pack",
    "handbag": "handbag tote bag purse clutch satchel wallet accessories duffel crossbody",
    "suitcase": "suitcase luggage carry-on trolley briefcase",
    "watch": "watch wristwatch timepiece smartwatch clock",
    "glasses": "glasses sunglasses eyeglasses shades goggles",
    "jewel": "ring necklace earrings earring bracelet pendant jewelry jewellery brooch",
    "laptop": "laptop notebook ultrabook computer computers",
    "phone": "phone smartphone electronics charger",
    "tablet": "tablet e-reader reader",
    "screen": "tv television monitor display screen projector",
    "camera": "camera camcorder lens",
    "headphones": "headphones headset audio",
    "earbuds": "earbuds earphones",
    "speaker": "speaker soundbar subwoofer amplifier amp turntable radio",
    "keyboard": "keyboard",
    "gamepad": "gamepad controller console joystick gaming",
    "mug": "mug cup coffee espresso tea latte teacup tumbler",
    "bowl": "bowl bowls dish plate plates housewares dinnerware ramekin soup",
    "pan": "pan skillet pot saucepan wok casserole kitchen cookware oven",
    "kettle": "kettle teapot pitcher",
    "blender": "blender mixer juicer",
    "knife": "knife knives cleaver cutlery",
    "lamp": "lamp light lighting lantern chandelier sconce pendant-light home",
    "candle": "candle candles diffuser",
    "cushion": "cushion pillow throw blanket homedecor quilt duvet towel towels",
    "rug": "rug carpet doormat",
    "plant": "plant succulent fern cactus planter monstera bonsai vase",
    "sofa": "sofa couch loveseat sectional furniture armchair",
    "chair": "chair stool bench recliner chairs",
    "table": "table desk nightstand console-table dining",
    "shelf": "shelf bookcase cabinet wardrobe dresser sideboard bookshelf shelves",
    "bed": "bed mattress",
    "tent": "tent outdoors camping hammock sleeping tarp",
    "bottle": "bottle flask thermos wine beverage juice",
    "ball": "ball football soccer basketball sports volleyball",
    "dumbbell": "dumbbell dumbbells kettlebell weights barbell fitness",
    "bicycle": "bicycle bike",
    "racket": "racket racquet badminton tennis paddle",
    "mat": "mat yoga",
    "blocks": "blocks building toys toy",
    "teddy": "teddy bear plush bunny",
    "car": "car truck racer train",
    "puzzle": "puzzle game jigsaw",
    "guitar": "guitar ukulele violin cello banjo instruments bass mandolin strings",
    "piano": "piano keyboard-piano synthesizer organ",
    "drum": "drum drums bongo percussion cymbal",
    "microphone": "microphone mic",
    "lotion": "lotion shampoo conditioner soap cleanser moisturizer beauty wash sunscreen serum",
    "perfume": "perfume cologne fragrance parfum toner",
    "lipstick": "lipstick mascara makeup blush eyeliner gloss balm",
    "book": "book books novel journal diary cookbook",
    "hammer": "hammer wrench screwdriver tools tool toolkit pliers saw axe",
    "drill": "drill sander",
    "bread": "bread loaf bakery baguette croissant pastry cake muffin sourdough",
    "basket": "basket fruit vegetables groceries food produce vegetable snacks",
    "jar": "jar honey jam sauce pickles spice cream mask",
    "flower": "flower flowers bouquet rose roses tulip floral arrangement orchid lily",
    "tree": "tree christmas wreath ornament",
    "gift": "gift seasonal easter halloween present",
}
_SHAPE_OF_WORD = {word: shape for shape, words in _WORDS_BY_SHAPE.items() for word in words.split()}
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Palette:
    backdrop: str
    halo: str
    main: str
    dark: str
    light: str
    accent: str


def _palette(colours: str) -> _Palette:
    backdrop, halo, main, dark, light, accent = colours.split()
    return _Palette(backdrop=backdrop, halo=halo, main=main, dark=dark, light=light, accent=accent)


# Chosen by eye: the thing stands out from its backdrop, the accent from the thing.
_PALETTES = tuple(
    map(
        _palette,
        (
            "#fdf0e6 #f9dcc4 #e76f51 #b5482d #f6a58f #2a9d8f",
            "#e8f3f1 #cde5e0 #2a9d8f #1b6b62 #7fcabf #f4a261",
            "#eaf0fb #d0ddf5 #4169c8 #2a4690 #93adea #ffb703",
            "#f4ecfa #e2d2f2 #8456b8 #5b3786 #bd9ee0 #f7b538",
            "#fdeef2 #f8d3de #d64d78 #9c2f53 #ee9bb5 #3d5a80",
            "#eef5e8 #d7e8c8 #6a994e #45682f #a7cf8c #e07a5f",
            "#fff6df #fce7b2 #e0a021 #a87210 #f5cd78 #3a6ea5",
            "#e9f4fa #cbe5f3 #2f8fbd #1d6186 #86c5e3 #ef6f6c",
            "#f1eeea #ded7ce #8d6e5a #5f4838 #c2a793 #e2a03f",
            "#ecedf2 #d3d6e2 #4a5272 #2d3350 #8f97b8 #ee6c4d",
            "#fdf0ec #fbd8cd #cf4a3c #932d22 #ee9c92 #f2c14e",
            "#e9f5f6 #c8e6e9 #168aa0 #0d5c6b #76c3d0 #f28482",
        ),
    )
)
_INK = "#2b2d42"
_PAPER = "#fffdf8"

_BACKDROPS = (
    '<circle cx="240" cy="236" r="188" fill="$h"/>',
    '<path d="M64 420V226a176 176 0 0 1 352 0v194z" fill="$h"/>',
    '<path d="M60 250q-6-150 150-186 176-30 206 132 30 170-120 216-228 40-236-162z" fill="$h"/>',
    '<circle cx="150" cy="160" r="112" fill="$h"/><circle cx="318" cy="280" r="138" fill="$h"/>',
)
_SHADOW = '<ellipse cx="240" cy="390" rx="164" ry="17" fill="$n" opacity=".14"/>'


def draw_product(name: str, category: str, seed: str) -> str:
    """A square SVG of 480 × 480 px and at most 4,096 bytes that shows what the product is.

    The same name, category and seed always give the same picture. The shape comes from the
    last telling word of `name`, else from `category`, else it is a parcel; the colours come
    from `seed`. `name` becomes the accessible title, XML-escaped and cut at 160 characters.
    """
    digest = hashlib.sha256(seed.encode("utf-8", "replace")).digest()
    palette = _PALETTES[digest[0] % len(_PALETTES)]
    backdrop = _BACKDROPS[digest[1] % len(_BACKDROPS)]
    thing = _SHAPES[shape_of(name, category)]
    if digest[2] & 1:
        thing = f'<g transform="matrix(-1 0 0 1 480 0)">{thing}</g>'
    body = Template(backdrop + _SHADOW + thing).substitute(
        h=palette.halo,
        m=palette.main,
        d=palette.dark,
        l=palette.light,
        a=palette.accent,
        n=_INK,
        w=_PAPER,
    )
    title = escape(_printable(name)[:TITLE_LENGTH_MAX])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {PICTURE_SIDE_PX} {PICTURE_SIDE_PX}"'
        f' width="{PICTURE_SIDE_PX}" height="{PICTURE_SIDE_PX}" role="img"><title>{title}</title>'
        f'<rect width="{PICTURE_SIDE_PX}" height="{PICTURE_SIDE_PX}" fill="{palette.backdrop}"/>'
        f"{body}</svg>"
    )


def shape_of(name: str, category: str) -> str:
    """Which shape stands for a product: what its name ends in says most, as in "desk lamp"."""
    for text in (name, category):
        for word in reversed(_WORD.findall(text.lower())):
            shape = _SHAPE_OF_WORD.get(word) or _SHAPE_OF_WORD.get(word.removesuffix("s"))
            if shape:
                return shape
    return FALLBACK_SHAPE


def _printable(text: str) -> str:
    """XML 1.0 knows no control characters and no lone surrogates, escaped or not."""
    return "".join(c if c.isprintable() else " " for c in text).strip()
