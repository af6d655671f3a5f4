"""The words of the generated catalog: categories, sellers of our own invention, and their goods."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One value of an option: its code in the SKU and what it adds to the price, in cents."""

    value: str
    code: str
    extra_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One way in which the variants of a product differ; between `least` and `most` values."""

    name: str
    options: tuple[Option, ...]
    least: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One sort of goods: prices in whole dollars, weights in grams, both as (least, most)."""

    noun: str
    dollars: tuple[int, int]
    grams: tuple[int, int]
    axes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Department:
    """A category with what is sold there; `share` is its weight among all categories."""

    category: str
    code: str
    share: int
    cents: int
    """What prices end in."""
    sellers: tuple[str, ...]
    lines: tuple[str, ...]
    styles: tuple[str, ...]
    uses: tuple[str, ...]
    features: tuple[str, ...]
    kinds: tuple[Kind, ...]


def _options(text: str) -> tuple[Option, ...]:
    """Options from `Value=CODE` or `Value=CODE+cents`, separated by commas."""
    found: list[Option] = []
    for part in text.split(","):
        value, _, rest = part.strip().partition("=")
        code, _, extra = rest.partition("+")
        found.append(Option(value=value, code=code, extra_minor=int(extra or 0)))
    return tuple(found)


AXES = {
    "size": Axis(
        name="Size", options=_options("XS=XS, S=S, M=M, L=L, XL=XL, XXL=XXL+200"), least=4, most=6
    ),
    "shoe": Axis(
        name="Size",
        options=_options("38=38, 39=39, 40=40, 41=41, 42=42, 43=43, 44=44, 45=45"),
        least=4,
        most=7,
    ),
    "colour": Axis(
        name="Colour",
        options=_options(
            "Black=BLK, Ivory=IVO, Navy=NVY, Forest=FOR, Terracotta=TER, Slate=SLT, Sand=SND,"
            " Plum=PLM"
        ),
        least=2,
        most=3,
    ),
    "storage": Axis(
        name="Storage",
        options=_options("128 GB=128, 256 GB=256+8000, 512 GB=512+20000, 1 TB=1TB+38000"),
        least=2,
        most=4,
    ),
    "screen": Axis(
        name="Screen",
        options=_options("24 inch=24, 27 inch=27+7000, 32 inch=32+16000"),
        least=2,
        most=3,
    ),
    "volume": Axis(
        name="Volume",
        options=_options("100 ml=100, 250 ml=250+900, 500 ml=500+1900"),
        least=2,
        most=3,
    ),
    "set": Axis(
        name="Set",
        options=_options("Single=1PC, Set of 2=2PC+1500, Set of 4=4PC+4000"),
        least=2,
        most=3,
    ),
    "capacity": Axis(
        name="Capacity",
        options=_options("20 litres=20L, 28 litres=28L+1500, 40 litres=40L+3500"),
        least=2,
        most=3,
    ),
}


def _kind(text: str) -> Kind:
    """A kind from `Noun | dollars least-most | grams least-most | axes | tags`."""
    noun, dollars, grams, axes, tags = (part.strip() for part in text.split("|"))
    cheap, dear = dollars.split("-")
    light, heavy = grams.split("-")
    return Kind(
        noun=noun,
        dollars=(int(cheap), int(dear)),
        grams=(int(light), int(heavy)),
        axes=tuple(axes.split()),
        tags=tuple(tags.split()),
    )


def _department(
    heading: str, *, sellers: str, lines: str, styles: str, uses: str, features: str, kinds: str
) -> Department:
    """A department from `Category CODE share cents` and lists, one item per comma or line."""
    category, code, share, cents = heading.split()

    def items(text: str, separator: str) -> tuple[str, ...]:
        return tuple(item.strip() for item in text.split(separator) if item.strip())

    return Department(
        category=category,
        code=code,
        share=int(share),
        cents=int(cents),
        sellers=items(sellers, ","),
        lines=items(lines, ","),
        styles=items(styles, ","),
        uses=items(uses, ","),
        features=items(features, "\n"),
        kinds=tuple(_kind(line) for line in items(kinds, "\n")),
    )


DEPARTMENTS = (
    _department(
        "Electronics EL 14 99",
        sellers="Lumora, Nordbit, Kestrel Labs, Pixelgrove, Voltane",
        lines="Nova, Arc, Helio, Vertex, Pulse, Quanta, Zenith, Orbit, Atlas, Echo, Ion, Strata",
        styles="Pro, Air, Lite, Plus, Studio, Max, Mini, 14, 15, 16",
        uses="work on the move, long study days, a tidy desk, films on the sofa, creative work",
        features="""The aluminium frame stays cool and quiet under load.
            Wakes at once and stays out of the way.
            Two-year warranty and spare parts for seven years.
            Connects by USB-C and needs no driver.""",
        kinds="""Laptop | 549-1899 | 1100-2300 | storage | laptop computer
            Smartphone | 299-1099 | 150-230 | storage | phone mobile
            Tablet | 249-899 | 380-700 | storage | tablet
            Monitor | 159-699 | 3200-7400 | screen | monitor display
            Mechanical Keyboard | 59-189 | 600-1300 | colour | keyboard
            Digital Camera | 349-1499 | 380-920 | | camera photo
            Game Controller | 39-89 | 200-320 | colour | gaming
            Smartwatch | 129-449 | 40-80 | colour | watch wearable""",
    ),
    _department(
        "Audio AU 7 99",
        sellers="Tonhaus, Brightwave, Murmur, Lumora",
        lines="Cadence, Allegro, Mono, Halo, Reed, Chorus, Drift, Aria, Tempo, Lyra",
        styles="Studio, Compact, Hi-Fi, Classic, Signature, Reference, Live",
        uses="the commute, late-night listening, the kitchen, home recording, garden evenings",
        features="""Tuned by ear, with deep bass that never covers the voice.
            Sets itself up in a minute and needs no account.
            Works with everything you already own.
            Every part that wears can be replaced.""",
        kinds="""Headphones | 49-399 | 180-340 | colour | headphones music
            Earbuds | 29-229 | 40-70 | colour | earbuds music
            Speaker | 39-349 | 500-4200 | colour | speaker music
            Soundbar | 99-599 | 1800-4500 | | soundbar tv
            Turntable | 129-699 | 3500-8000 | | vinyl
            USB Microphone | 49-249 | 350-900 | | recording podcast""",
    ),
    _department(
        "Footwear FW 10 95",
        sellers="Halden, Strider & Co, Vale Cobblers, Northpeak",
        lines="Fjord, Tempo, Boulder, Harbour, Meadow, Canyon, Lark, Mesa, Alder, Comet",
        styles="Leather, Suede, Knit, Waterproof, Lightweight, Vegan, Everyday, Classic",
        uses="city miles, wet trails, the office, weekend walks, long shifts on your feet",
        features="""A cushioned footbed that can be taken out and washed.
            The outsole grips on wet stone and leaves no marks indoors.
            Runs true to size; between two sizes take the larger.
            Stitched, not only glued, so that a cobbler can resole it.""",
        kinds="""Running Shoes | 69-179 | 480-760 | shoe | running sneaker
            Sneakers | 49-149 | 600-980 | shoe | sneaker casual
            Hiking Boots | 99-249 | 900-1600 | shoe | hiking boots
            Chelsea Boots | 89-229 | 900-1400 | shoe | boots
            Loafers | 69-189 | 500-900 | shoe | formal
            Sandals | 29-99 | 300-600 | shoe | summer""",
    ),
    _department(
        "Apparel AP 12 95",
        sellers="Wren & Ivy, Northpeak, Oakline, Maribel, Solvane",
        lines="Ridge, Harbour, Linden, Juniper, Coast, Ember, Willow, Heath, Bay, Aster",
        styles="Organic, Relaxed, Slim, Everyday, Lightweight, Heavyweight, Vintage, Classic",
        uses="cool mornings, layering, travelling light, the office, lazy Sundays",
        features="""Cut for an easy fit and finished with flat seams.
            Washes at 30 degrees and keeps its colour.
            Made in small runs from certified fabric.
            Pockets deep enough for a phone.""",
        kinds="""Jacket | 79-289 | 500-1300 | size | jacket outerwear
            Hoodie | 39-109 | 450-800 | size | hoodie
            T-Shirt | 15-45 | 140-230 | size | tee shirt
            Shirt | 35-99 | 200-340 | size | shirt
            Jeans | 49-139 | 550-850 | size | denim
            Dress | 45-159 | 250-520 | size | dress
            Sweater | 49-149 | 350-700 | size | knitwear""",
    ),
    _department(
        "Accessories AC 9 99",
        sellers="Solvane, Maribel, Carryall Works, Tempus & Sons",
        lines="Metro, Atelier, Voyager, Sierra, Loom, Avenue, Nomad, Dune, Quay, Orchard",
        styles="Classic, Slim, Weekend, Everyday, Minimal, Signature, Heritage, Vintage",
        uses="the daily commute, short trips, a smart dinner, festival days, carrying it all",
        features="""Small details in brass that age well.
            Comes in a gift box of recycled card.
            Goes with everything and outlives the season.
            Repaired free of charge for five years.""",
        kinds="""Backpack | 49-189 | 600-1500 | capacity | backpack bag
            Tote Bag | 25-149 | 300-800 | colour | tote bag
            Wristwatch | 79-449 | 60-140 | colour | watch
            Sunglasses | 25-189 | 25-45 | colour | sunglasses
            Wool Scarf | 29-119 | 150-320 | colour | scarf winter
            Baseball Cap | 15-45 | 80-130 | colour | cap
            Suitcase | 99-349 | 2400-4200 | colour | luggage travel
            Silver Necklace | 39-259 | 8-30 | | jewellery""",
    ),
    _department(
        "Kitchen KI 11 99",
        sellers="Copper & Clay, Hearthline, Kopje, Simmer House",
        lines="Saffron, Basil, Provence, Ember, Nordic, Terra, Olive, Juniper, Clove, Pepper",
        styles="Handmade, Compact, Everyday, Classic, Heritage, Professional, Petite, Grand",
        uses="slow Sundays, quick breakfasts, a full table, small kitchens, baking days",
        features="""Easy to clean and kind to worktops.
            Made to be used every day and to be handed down.
            Balanced in the hand and easy to store.
            Every piece is checked by hand before it leaves the workshop.""",
        kinds="""Coffee Mug | 9-29 | 280-450 | set | mug coffee
            Serving Bowl | 15-59 | 500-1400 | set | bowl tableware
            Frying Pan | 25-129 | 900-2600 | | pan cookware
            Saucepan | 29-139 | 900-2200 | | pot cookware
            Kettle | 29-119 | 800-1500 | colour | kettle tea
            Blender | 39-249 | 1500-4800 | | blender smoothie
            Chef's Knife | 29-189 | 160-280 | | knife
            Teapot | 25-79 | 600-1100 | | tea""",
    ),
    _department(
        "Home HO 9 0",
        sellers="Hearthline, Linnet & Moss, Casa Marisol, Fogbank",
        lines="Dawn, Moor, Cloud, Ripple, Fern, Tide, Amber, Drift, Haven, Pebble",
        styles="Boho, Minimal, Botanical, Classic, Rustic, Scandi, Coastal",
        uses="the bedside, a reading corner, the hall, warm evenings, a bare wall",
        features="""Made by a family workshop in its third generation.
            Good to touch and easy to keep clean.
            Arrives ready to use, in packaging without plastic.
            Looks good alone and better in pairs.""",
        kinds="""Table Lamp | 35-189 | 1100-3200 | colour | lamp lighting
            Floor Lamp | 69-289 | 3500-7500 | | lamp lighting
            Cushion | 15-59 | 350-700 | colour | cushion
            Throw Blanket | 29-119 | 700-1500 | colour | blanket
            Scented Candle | 12-49 | 250-600 | set | candle
            Area Rug | 59-399 | 3500-12000 | colour | rug
            Flower Vase | 19-89 | 600-1900 | | vase""",
    ),
    _department(
        "Furniture FU 6 0",
        sellers="Timberline, Casa Marisol, Aske Studio, Fogbank",
        lines="Oslo, Lund, Marlow, Hudson, Sienna, Tahoe, Bergen, Porto, Arden, Kyoto",
        styles="Oak, Walnut, Ash, Beech, Mid-Century, Compact, Modern, Heritage",
        uses="small flats, long dinners, the home office, a quiet corner, family rooms",
        features="""Solid joints, no particle board.
            Goes together in twenty minutes with the key that comes with it.
            Stands level on any floor.
            Wood from managed forests, finished with oil.""",
        kinds="""Sofa | 499-1899 | 32000-68000 | colour | sofa living-room
            Armchair | 199-699 | 14000-26000 | colour | armchair living-room
            Dining Chair | 59-249 | 4200-7600 | set | chair dining
            Coffee Table | 99-449 | 9000-22000 | | table living-room
            Writing Desk | 149-649 | 18000-34000 | | desk office
            Bookcase | 119-549 | 19000-42000 | | shelf storage
            Bed Frame | 249-999 | 30000-62000 | | bed bedroom""",
    ),
    _department(
        "Outdoors OU 7 95",
        sellers="Northpeak, Tarn & Tor, Basecamp Supply",
        lines="Summit, Glacier, Pine, Cairn, Trail, Osprey, Ridge, Lagoon, Tundra, Falcon",
        styles="Ultralight, Rugged, Compact, Family, Expedition, Explorer, Basic",
        uses="weekends in the hills, canoe trips, festival fields, winter camps, thru-hikes",
        features="""Tested for two winters in the Highlands.
            Weighs less than you would think.
            Keeps working in the cold and the wet.
            Spare parts ship within two days.""",
        kinds="""Tent | 99-599 | 1200-4800 | colour | tent camping
            Sleeping Bag | 59-349 | 700-1900 | | sleeping camping
            Water Bottle | 15-45 | 180-420 | colour | bottle hydration
            Hiking Backpack | 79-289 | 900-2100 | capacity | backpack hiking
            Camping Lantern | 19-79 | 200-650 | | light camping
            Camping Chair | 29-129 | 1400-3900 | colour | chair camping""",
    ),
    _department(
        "Sports SP 6 95",
        sellers="Kinetic Club, Strider & Co, Fieldhouse",
        lines="Sprint, Rally, Titan, Flow, Apex, Dash, Summit, Core, Match, Motion",
        styles="Training, Competition, Youth, Studio, Club, All-Weather, Classic",
        uses="the home gym, club training, a match in the park, first steps, rainy days",
        features="""Keeps its shape after a season of hard use.
            The grip stays dry and does not wear off.
            Chosen by clubs in three leagues.
            Bought by beginners and kept by champions.""",
        kinds="""Football | 15-79 | 400-450 | | ball football
            Basketball | 19-69 | 580-640 | | ball basketball
            Dumbbell | 19-149 | 2000-20000 | set | weights fitness
            Yoga Mat | 25-99 | 900-2300 | colour | yoga fitness
            Tennis Racket | 39-229 | 260-330 | | tennis racket
            City Bicycle | 349-1299 | 12000-17500 | colour | bicycle
            Bike Helmet | 35-149 | 230-390 | colour | bicycle safety""",
    ),
    _department(
        "Toys TO 5 99",
        sellers="Little Otter, Tumbledown, Pocket Parade",
        lines="Meadow, Rocket, Pirate, Safari, Castle, Rainbow, Comet, Forest, Harbour, Circus",
        styles="Giant, Travel, Classic, My First, Little, Deluxe, Storytime",
        uses="rainy afternoons, small hands, long drives, birthdays, playing together",
        features="""Coloured with dyes that are safe to chew on.
            Rounded edges and no small parts.
            Made to be handed down.
            For ages three and up.""",
        kinds="""Building Blocks | 15-89 | 600-2400 | | blocks building
            Teddy Bear | 12-49 | 200-700 | colour | plush
            Toy Car | 9-39 | 120-600 | colour | car
            Jigsaw Puzzle | 9-35 | 350-900 | | puzzle
            Toy Drum | 19-49 | 500-1100 | | music
            Picture Book | 9-25 | 250-500 | | book""",
    ),
    _department(
        "Beauty BE 4 95",
        sellers="Petal & Pine, Maison Orla, Dewpoint",
        lines="Calm, Dew, Velvet, Citrus, Rosewater, Cedar, Silk, Bloom, Mineral, Honey",
        styles="Organic, Sensitive, Daily, Vegan, Radiant, Gentle, Signature",
        uses="dry skin, busy mornings, sensitive skin, a quiet evening, travel",
        features="""Without parabens or microplastics.
            A little goes a long way.
            Tested by dermatologists, never on animals.
            The packaging is recycled and can be refilled.""",
        kinds="""Body Lotion | 9-39 | 120-560 | volume | lotion skin
            Shampoo | 8-35 | 130-580 | volume | shampoo hair
            Face Serum | 15-89 | 60-140 | | serum skin
            Eau de Parfum | 39-159 | 180-420 | volume | perfume
            Lipstick | 12-39 | 15-30 | colour | makeup
            Night Cream | 15-79 | 90-220 | | cream skin""",
    ),
)

OPENINGS = (
    "The {name} is made for {use}.",
    "Made for {use}: the {name}.",
    "Meet the {name}, our pick for {use}.",
    "For {use} there is the {name}.",
    "The {name} was designed with {use} in mind.",
)
