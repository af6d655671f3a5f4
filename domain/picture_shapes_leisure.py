"""More things to draw, for sport, play, music, care, the workshop and the table.

The same canvas and colour placeholders as `domain.picture_shapes`.
"""

from __future__ import annotations

_ROUND = 'fill="none" stroke-linecap="round" stroke-linejoin="round"'

SPORT_AND_PLAY = {
    "tent": (
        '<path d="M240 96L52 380h376z" fill="$m"/><path d="M240 96L52 380h76z" fill="$l"/>'
        '<path d="M240 96l188 284h-64z" fill="$d"/><path d="M240 190l-62 190h124z" fill="$n"/>'
        '<path d="M240 190l-62 190h-22zM240 190l62 190h22z" fill="$a"/>'
        f'<path d="M228 78l12 20 12-20" stroke="$d" stroke-width="9" {_ROUND}/>'
    ),
    "bottle": (
        '<rect x="200" y="66" width="80" height="46" rx="12" fill="$n"/>'
        '<path d="M204 112h72v18q48 18 48 70v148q0 32-32 32H188q-32 0-32-32V200q0-52 48-70z"'
        ' fill="$m"/><path d="M156 226h168v84H156z" fill="$l"/>'
        '<path d="M240 238q26 34 0 56-26-22 0-56z" fill="$a"/>'
        '<path d="M280 132q44 18 44 68v148q0 32-32 32h-20q28 0 28-32V200q0-48-20-68z" fill="$d"/>'
        f'<path d="M214 92h52" stroke="$a" stroke-width="8" {_ROUND}/>'
    ),
    "ball": (
        '<circle cx="240" cy="240" r="140" fill="$w"/><path d="M240 178l58 42-22 68h-72l-22-68z"'
        ' fill="$m"/><path d="M240 100v78M298 220l72-26M276 288l46 66M204 288l-46 66M182 220l-72-26"'
        ' stroke="$d" stroke-width="7"/><path d="M196 108l44 34 44-34q-44-16-88 0zM352 154l-6 56 33'
        " 36q2-52-27-92zM128 154l6 56-33 36q-2-52 27-92zM300 366l-4-52 52-12q-16 42-48 64zM180 366"
        'l4-52-52-12q16 42 48 64z" fill="$m"/><circle cx="240" cy="240" r="140" fill="none"'
        ' stroke="$d" stroke-width="7"/>'
    ),
    "dumbbell": (
        '<g transform="rotate(-18 240 250)"><rect x="120" y="234" width="240" height="32" rx="8"'
        ' fill="$n"/><rect x="100" y="164" width="46" height="172" rx="16" fill="$m"/>'
        '<rect x="334" y="164" width="46" height="172" rx="16" fill="$m"/>'
        '<rect x="60" y="190" width="42" height="120" rx="14" fill="$d"/>'
        '<rect x="378" y="190" width="42" height="120" rx="14" fill="$d"/>'
        '<path d="M112 184v132M346 184v132" stroke="$l" stroke-width="9" stroke-linecap="round"/>'
        '<path d="M190 250h100" stroke="$a" stroke-width="32" stroke-dasharray="12 10"/></g>'
    ),
    "bicycle": (
        '<g fill="none" stroke="$n" stroke-width="14"><circle cx="132" cy="296" r="78"/>'
        '<circle cx="348" cy="296" r="78"/></g><circle cx="132" cy="296" r="52" fill="$l"'
        ' opacity=".6"/><circle cx="348" cy="296" r="52" fill="$l" opacity=".6"/>'
        f'<path d="M132 296l60-118h116l40 118M192 178l48 118h-108M240 296l68-118-12-44h40"'
        f' stroke="$m" stroke-width="15" {_ROUND}/>'
        f'<path d="M192 178l-10-26M158 150h52" stroke="$d" stroke-width="14" {_ROUND}/>'
        '<circle cx="240" cy="296" r="20" fill="$a"/>'
    ),
    "racket": (
        '<g transform="rotate(38 240 240)"><ellipse cx="240" cy="166" rx="88" ry="112" fill="$w"'
        ' opacity=".6"/><path d="M160 120h160M152 160h176M158 200h164M180 240h120M200 64v200M240 56'
        'v220M280 64v200" stroke="$d" stroke-width="4" opacity=".7"/><ellipse cx="240" cy="166"'
        ' rx="88" ry="112" fill="none" stroke="$m" stroke-width="20"/>'
        '<path d="M204 262l36 44 36-44" stroke="$m" stroke-width="13" fill="none"/>'
        '<rect x="224" y="300" width="32" height="124" rx="12" fill="$n"/></g>'
        '<circle cx="112" cy="330" r="36" fill="$a"/><path d="M84 308q30 14 28 58" stroke="$w"'
        ' stroke-width="5" fill="none"/>'
    ),
    "mat": (
        '<path d="M96 286h300v66q0 28-28 28H96z" fill="$l"/><path d="M96 286h300v20H96z" fill="$a"/>'
        '<circle cx="142" cy="296" r="84" fill="$m"/><circle cx="142" cy="296" r="84" fill="none"'
        ' stroke="$d" stroke-width="9"/><path d="M142 296q0-22 22-22t26 26q0 44-46 48-56 0-58-52'
        ' 0-56 58-60" stroke="$d" stroke-width="9" fill="none" stroke-linecap="round"/>'
    ),
    "blocks": (
        '<rect x="84" y="246" width="134" height="134" rx="16" fill="$m"/>'
        '<rect x="262" y="246" width="134" height="134" rx="16" fill="$a"/>'
        '<rect x="173" y="102" width="134" height="134" rx="16" fill="$d"/>'
        '<path d="M151 276l38 74h-76z" fill="$w"/><circle cx="329" cy="313" r="36" fill="$w"/>'
        '<path d="M240 128l13 28 31 4-23 21 6 31-27-15-27 15 6-31-23-21 31-4z" fill="$w"/>'
    ),
    "teddy": (
        '<circle cx="168" cy="112" r="38" fill="$m"/><circle cx="312" cy="112" r="38" fill="$m"/>'
        '<circle cx="168" cy="112" r="20" fill="$l"/><circle cx="312" cy="112" r="20" fill="$l"/>'
        '<ellipse cx="240" cy="308" rx="96" ry="82" fill="$m"/>'
        '<ellipse cx="240" cy="314" rx="58" ry="54" fill="$l"/>'
        '<ellipse cx="138" cy="276" rx="34" ry="26" fill="$d"/>'
        '<ellipse cx="342" cy="276" rx="34" ry="26" fill="$d"/>'
        '<circle cx="240" cy="166" r="92" fill="$m"/><ellipse cx="240" cy="196" rx="44" ry="34"'
        ' fill="$l"/><circle cx="206" cy="156" r="10" fill="$n"/><circle cx="274" cy="156" r="10"'
        ' fill="$n"/><ellipse cx="240" cy="182" rx="15" ry="10" fill="$n"/>'
        '<path d="M178 256l62 18 62-18v44l-62-16-62 16z" fill="$a"/>'
        '<ellipse cx="168" cy="364" rx="40" ry="24" fill="$d"/><ellipse cx="312" cy="364" rx="40"'
        ' ry="24" fill="$d"/>'
    ),
    "car": (
        '<path d="M60 288q0-48 48-54l34-70q8-16 28-16h118q18 0 30 14l56 70 30 8q24 8 24 38v38H60z"'
        ' fill="$m"/><path d="M160 232l26-58h50v58zM252 232v-58h36q10 0 16 8l38 50z" fill="$w"/>'
        '<path d="M60 296h368v30H60z" fill="$d"/><circle cx="150" cy="328" r="52" fill="$n"/>'
        '<circle cx="342" cy="328" r="52" fill="$n"/><circle cx="150" cy="328" r="24" fill="$l"/>'
        '<circle cx="342" cy="328" r="24" fill="$l"/><rect x="398" y="258" width="26" height="22"'
        ' rx="8" fill="$a"/>'
    ),
    "puzzle": (
        '<path d="M100 110h110q-16 44 30 44t30-44h110v110q-44-16-44 30t44 30v100H270q16-44-30-44'
        't-30 44H100V280q44 16 44-30t-44-30z" fill="$m"/>'
        '<path d="M100 280q44 16 44-30h96v86q-46 0-30 44H100z" fill="$a"/>'
        '<path d="M240 154q46 0 30-44h110v110q-44-16-44 30h-96z" fill="$l"/>'
        '<path d="M240 154v182M144 250h192" stroke="$d" stroke-width="5"/>'
    ),
    "guitar": (
        '<g transform="rotate(32 240 250)"><rect x="226" y="34" width="28" height="220" fill="$n"/>'
        '<path d="M216 16h48l6 52h-60z" fill="$d"/>'
        '<path d="M240 196q66 0 66 50 0 22-16 38 44 22 44 76 0 76-94 76t-94-76q0-54 44-76-16-16-16'
        '-38 0-50 66-50z" fill="$m"/><circle cx="240" cy="296" r="32" fill="$n"/>'
        '<rect x="204" y="366" width="72" height="16" rx="5" fill="$d"/>'
        '<path d="M232 40v330M240 40v330M248 40v330" stroke="$w" stroke-width="2.5"/>'
        '<path d="M292 300q24 14 24 56 0 40-34 52 30-60 10-108z" fill="$a"/></g>'
    ),
    "piano": (
        '<rect x="64" y="116" width="352" height="110" rx="14" fill="$m"/>'
        '<path d="M48 220h384v34H48z" fill="$d"/><path d="M64 254h352v56H64z" fill="$w"/>'
        '<path d="M86 254v36M114 254v36M170 254v36M198 254v36M226 254v36M282 254v36M310 254v36'
        'M366 254v36M394 254v36" stroke="$n" stroke-width="15"/>'
        '<path d="M48 308h384v22H48z" fill="$m"/><path d="M70 330h26v50H76zM384 330h26l-6 50h-20z"'
        ' fill="$d"/><path d="M196 138h88v60h-88z" fill="$w"/><path d="M208 154h64M208 170h64M208'
        ' 186h40" stroke="$a" stroke-width="5"/>'
    ),
    "drum": (
        '<path d="M92 196h296v120q0 64-148 64T92 316z" fill="$m"/>'
        '<path d="M92 214l50 152 60-142 38 156 38-156 60 142 50-152" stroke="$w" stroke-width="6"'
        ' fill="none"/><ellipse cx="240" cy="198" rx="152" ry="50" fill="$d"/>'
        '<ellipse cx="240" cy="192" rx="136" ry="40" fill="$l"/>'
        f'<path d="M260 186L386 76M220 186L94 76" stroke="$n" stroke-width="10" {_ROUND}/>'
        '<circle cx="260" cy="186" r="13" fill="$a"/><circle cx="220" cy="186" r="13" fill="$a"/>'
    ),
    "microphone": (
        '<circle cx="240" cy="148" r="72" fill="$l"/><path d="M170 130h140M170 162h140M206 84v130'
        'M240 78v140M274 84v130" stroke="$d" stroke-width="5"/>'
        '<rect x="160" y="196" width="160" height="30" rx="15" fill="$a"/>'
        '<path d="M182 226h116l-20 120h-76z" fill="$m"/><path d="M202 346h76v18h42v16H160v-16h42z"'
        ' fill="$n"/><rect x="228" y="248" width="24" height="44" rx="10" fill="$w"/>'
    ),
}

CARE_AND_TABLE = {
    "lotion": (
        '<path d="M222 82h36v60h-36z" fill="$n"/><path d="M168 74h96q22 0 22 22v10H168q-16-16 0-32z"'
        ' fill="$d"/><rect x="196" y="134" width="88" height="34" rx="8" fill="$l"/>'
        '<path d="M156 198q0-32 32-32h104q32 0 32 32v152q0 30-30 30H186q-30 0-30-30z" fill="$m"/>'
        '<rect x="176" y="224" width="128" height="108" rx="10" fill="$w"/>'
        '<path d="M240 238q36 22 0 62-36-40 0-62z" fill="$a"/>'
        '<path d="M206 316h68" stroke="$d" stroke-width="7" stroke-linecap="round"/>'
    ),
    "perfume": (
        '<rect x="206" y="76" width="68" height="60" rx="10" fill="$n"/>'
        '<rect x="190" y="132" width="100" height="26" rx="6" fill="$a"/>'
        '<path d="M130 190q0-32 32-32h156q32 0 32 32v158q0 32-32 32H162q-32 0-32-32z" fill="$l"/>'
        '<path d="M148 246q92-34 184 0v96q0 20-20 20H168q-20 0-20-20z" fill="$m"/>'
        '<rect x="190" y="260" width="100" height="66" rx="6" fill="$w"/>'
        '<path d="M208 284h64M220 304h40" stroke="$d" stroke-width="7" stroke-linecap="round"/>'
    ),
    "lipstick": (
        '<path d="M196 210V118q58-62 88-36v128z" fill="$m"/><path d="M196 210V118q40-42 68-42-40 30'
        '-40 66v68z" fill="$l"/><rect x="184" y="200" width="112" height="66" fill="$a"/>'
        '<path d="M172 260h136v106q0 14-14 14H186q-14 0-14-14z" fill="$n"/>'
        '<path d="M172 286h136" stroke="$a" stroke-width="7"/>'
    ),
    "book": (
        '<path d="M122 104q0-26 26-26h196q14 0 14 14v288H148q-26 0-26-26z" fill="$d"/>'
        '<path d="M140 346q0-14 14-14h192v34H154q-14 0-14-14z" fill="$w"/>'
        '<path d="M122 104q0-26 26-26h196q14 0 14 14v232H152q-20 0-30 16z" fill="$m"/>'
        '<path d="M158 78v246" stroke="$d" stroke-width="7"/>'
        '<rect x="190" y="128" width="134" height="88" rx="6" fill="$w"/>'
        '<path d="M212 158h90M226 186h62" stroke="$d" stroke-width="9" stroke-linecap="round"/>'
        '<path d="M296 324h34v72l-17-16-17 16z" fill="$a"/>'
    ),
    "hammer": (
        '<g transform="rotate(34 240 240)"><rect x="220" y="150" width="42" height="258" rx="18"'
        ' fill="$m"/><path d="M220 290h42v100q0 18-21 18t-21-18z" fill="$d"/>'
        '<path d="M156 92h150q20 0 20 20v34q0 20-20 20H196q-20 0-34 14l-36 34q-4-72 30-122z"'
        ' fill="$n"/><rect x="304" y="84" width="42" height="90" rx="10" fill="$l"/>'
        '<path d="M228 312h26M228 334h26M228 356h26" stroke="$a" stroke-width="7"/></g>'
    ),
    "drill": (
        '<path d="M40 196h70v20H40z" fill="$n"/><path d="M106 178l46-14v84l-46-14z" fill="$d"/>'
        '<path d="M150 140h180q56 0 56 58t-56 60H150z" fill="$m"/>'
        '<path d="M258 250h88l24 96h-84z" fill="$d"/><path d="M250 330h148q14 0 14 14v36H250z"'
        ' fill="$n"/><path d="M246 256l-20 40 22 4 20-40z" fill="$a"/>'
        '<path d="M184 172h92M184 198h92M184 224h60" stroke="$l" stroke-width="9"'
        ' stroke-linecap="round"/><circle cx="338" cy="198" r="20" fill="$a"/>'
    ),
    "bread": (
        '<path d="M72 250q-4-108 168-108t168 108q0 26-20 34v62q0 34-34 34H126q-34 0-34-34v-62'
        'q-20-8-20-34z" fill="#c98748"/><path d="M98 252q4-80 142-80t142 80q0 20-20 22v62q0 18-18 18'
        'H136q-18 0-18-18v-62q-20-2-20-22z" fill="#f1cf96"/>'
        f'<path d="M182 216l34 44M240 210l34 44M298 216l30 40" stroke="#c98748" stroke-width="11"'
        f' {_ROUND}/><path d="M92 334h296v12q0 34-34 34H126q-34 0-34-34z" fill="$m"/>'
        '<path d="M92 340h296" stroke="$a" stroke-width="8"/>'
    ),
    "basket": (
        f'<path d="M128 232q0-132 112-132t112 132" stroke="$d" stroke-width="14" {_ROUND}/>'
        '<circle cx="170" cy="210" r="44" fill="#d9534f"/><circle cx="312" cy="212" r="42"'
        ' fill="#e9a23b"/><path d="M226 236q-28-84 14-122 42 38 16 122z" fill="#6aa84f"/>'
        '<circle cx="250" cy="222" r="34" fill="#8e6bbf"/>'
        '<path d="M84 232h312l-34 134q-4 14-18 14H136q-14 0-18-14z" fill="$m"/>'
        '<rect x="74" y="220" width="332" height="34" rx="14" fill="$d"/>'
        '<path d="M106 286h268M116 324h248" stroke="$l" stroke-width="16"'
        ' stroke-dasharray="26 14"/>'
    ),
    "jar": (
        '<rect x="164" y="88" width="152" height="48" rx="12" fill="$n"/>'
        '<path d="M150 176q0-40 40-40h100q40 0 40 40v164q0 40-40 40H190q-40 0-40-40z" fill="$l"/>'
        '<path d="M162 208q78-26 156 0v128q0 32-32 32h-92q-32 0-32-32z" fill="$m"/>'
        '<rect x="150" y="232" width="180" height="94" fill="$w"/>'
        '<path d="M240 246q34 26 0 66-34-40 0-66z" fill="$a"/><path d="M170 104h140" stroke="$l"'
        ' stroke-width="6"/>'
    ),
    "flower": (
        f'<path d="M240 250v118M240 330q-54-4-66-50M240 350q54-4 66-50" stroke="#4f9d69"'
        f' stroke-width="13" {_ROUND}/><g fill="$m"><circle cx="240" cy="106" r="44"/>'
        '<circle cx="302" cy="152" r="44"/><circle cx="278" cy="224" r="44"/>'
        '<circle cx="202" cy="224" r="44"/><circle cx="178" cy="152" r="44"/></g>'
        '<g fill="$l"><circle cx="240" cy="120" r="22"/><circle cx="288" cy="156" r="22"/>'
        '<circle cx="270" cy="212" r="22"/><circle cx="210" cy="212" r="22"/><circle cx="192"'
        ' cy="156" r="22"/></g><circle cx="240" cy="172" r="38" fill="$a"/>'
        '<path d="M182 330h116l-18 50h-80z" fill="$d"/>'
    ),
    "tree": (
        '<path d="M222 330h36v50h-36z" fill="#8a5a3b"/><path d="M240 190L118 346h244z"'
        ' fill="#2f7d5b"/><path d="M240 134l-96 132h192z" fill="#3f966f"/>'
        '<path d="M240 84l-72 106h144z" fill="#57ad86"/>'
        '<path d="M240 48l11 23 25 4-18 17 4 25-22-12-22 12 4-25-18-17 25-4z" fill="#f2c14e"/>'
        '<circle cx="206" cy="232" r="13" fill="$m"/><circle cx="276" cy="248" r="13" fill="$a"/>'
        '<circle cx="180" cy="310" r="13" fill="$a"/><circle cx="240" cy="314" r="13" fill="$w"/>'
        '<circle cx="304" cy="312" r="13" fill="$m"/><circle cx="246" cy="166" r="11" fill="$m"/>'
    ),
    "gift": (
        '<rect x="108" y="226" width="264" height="154" rx="12" fill="$m"/>'
        '<rect x="92" y="176" width="296" height="64" rx="12" fill="$d"/>'
        '<path d="M216 176h48v204h-48z" fill="$a"/>'
        f'<path d="M240 174q-20-84-72-78-44 12-18 52 24 30 90 26zM240 174q20-84 72-78 44 12 18 52'
        f'-24 30-90 26z" stroke="$a" stroke-width="15" {_ROUND}/>'
    ),
    "box": (
        '<path d="M240 110l150 66v138l-150 66-150-66V176z" fill="$m"/>'
        '<path d="M240 110l150 66-150 66-150-66z" fill="$l"/><path d="M240 242v138l150-66V176z"'
        ' fill="$d"/><path d="M165 143l150 66v52l-30 13v-52l-150-66z" fill="$a"/>'
        '<path d="M112 286l52 23M112 306l32 14" stroke="$w" stroke-width="8"'
        ' stroke-linecap="round"/>'
    ),
}
