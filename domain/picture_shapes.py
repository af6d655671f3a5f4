"""The things `domain.pictures` can draw: one SVG fragment each, on a 480 × 480 canvas.

Colours are placeholders filled in by the caller: `$m` main, `$d` its darker and `$l` its lighter
shade, `$a` the accent, `$n` ink and `$w` off-white. Things stand on the ground at y = 380.
"""

from __future__ import annotations

_ROUND = 'fill="none" stroke-linecap="round" stroke-linejoin="round"'

WEARABLES = {
    "shoe": (
        '<path d="M92 332c-8-50-4-96 8-124 24 16 46 14 62 2l28-18c34 48 74 80 128 90 50 8 84 16 90'
        ' 50z" fill="$m"/><path d="M326 284c50 8 78 18 82 48H300c0-22 8-40 26-48z" fill="$l"/>'
        '<path d="M92 332c-8-50-4-96 8-124 10 7 20 10 32 11-9 36-9 74-3 113z" fill="$d"/>'
        '<path d="M84 330h326q10 0 10 12 0 30-26 30H106q-22 0-22-28z" fill="$w"/>'
        '<path d="M86 348h332" stroke="$a" stroke-width="6"/>'
        f'<path d="M204 212l-26 22M228 236l-26 24M254 258l-24 26" stroke="$w" stroke-width="9"'
        f' {_ROUND}/><path d="M150 306c52 4 96-6 136-34" stroke="$a" stroke-width="12" {_ROUND}/>'
    ),
    "boot": (
        '<path d="M152 112h116v116c14 34 100 30 116 104H152z" fill="$m"/>'
        '<path d="M300 274c44 10 76 22 84 58h-98c-4-24 0-44 14-58z" fill="$d"/>'
        '<rect x="142" y="98" width="136" height="40" rx="14" fill="$l"/>'
        '<path d="M142 330h250v34q0 14-14 14H260l-14-14h-24v14h-66q-14 0-14-14z" fill="$n"/>'
        f'<path d="M222 170l46-12M224 202l46-14M232 234l44-18M248 264l40-24" stroke="$a"'
        f' stroke-width="9" {_ROUND}/><path d="M152 250h56v82" stroke="$d" stroke-width="6"'
        f" {_ROUND}/>"
    ),
    "heel": (
        '<path d="M96 196c20-34 52-30 66 6 30 74 84 108 152 112 44 4 80 16 88 56H300c-62 0-114-30'
        '-152-92l-10 92h-20c6-60-6-120-22-174z" fill="$m"/>'
        '<path d="M112 192c14-14 30-8 38 12 30 76 86 112 150 120-70 8-138-32-188-132z" fill="$d"/>'
        '<path d="M300 370h104v10H296z" fill="$n"/><circle cx="318" cy="322" r="12" fill="$a"/>'
    ),
    "shirt": (
        '<path d="M176 104l-96 56 34 82 38-18v146q0 10 10 10h156q10 0 10-10V224l38 18 34-82-96-56'
        'q-20 36-64 36t-64-36z" fill="$m"/><path d="M176 104q20 36 64 36t64-36l-20-8q-14 22-44 22'
        't-44-22z" fill="$l"/><path d="M152 224v-46M328 224v-46" stroke="$d" stroke-width="6"/>'
        '<path d="M114 242l38-18-6-14-38 18zM366 242l-38-18 6-14 38 18z" fill="$d"/>'
        '<path d="M152 284h176v30H152z" fill="$a"/><path d="M152 322h176v10H152z" fill="$w"/>'
    ),
    "jacket": (
        '<path d="M186 96l-82 48q-16 12-20 34L62 330q0 14 14 16l40 6 30-128v142q0 14 14 14h160q14 0'
        ' 14-14V224l30 128 40-6q14-2 14-16l-22-152q-4-22-20-34l-82-48z" fill="$m"/>'
        '<path d="M186 96h108l-24 72h-60z" fill="$n"/><path d="M186 96l-26 22 36 76 44-44zM294 96'
        'l26 22-36 76-44-44z" fill="$l"/><path d="M240 150v230" stroke="$d" stroke-width="6"/>'
        '<path d="M66 318l48 10-6 22-46-8zM414 318l-48 10 6 22 46-8z" fill="$d"/>'
        f'<path d="M168 292h46M266 292h46" stroke="$d" stroke-width="9" {_ROUND}/>'
        '<path d="M146 352h188v28H146z" fill="$d"/><circle cx="253" cy="226" r="6" fill="$a"/>'
        '<circle cx="253" cy="266" r="6" fill="$a"/><circle cx="253" cy="306" r="6" fill="$a"/>'
    ),
    "trousers": (
        '<path d="M156 100h168l30 280h-82l-32-180-32 180h-82z" fill="$m"/>'
        '<path d="M154 100h172l4 34H150z" fill="$d"/><path d="M240 134v66M160 150q30 6 34-16M320 150'
        'q-30 6-34-16" stroke="$d" stroke-width="6" fill="none"/>'
        '<path d="M128 364h84l-3 16h-83zM268 364h84l2 16h-82z" fill="$l"/>'
        '<circle cx="240" cy="117" r="8" fill="$a"/>'
    ),
    "dress": (
        '<path d="M190 90l10 92-76 178q52 22 116 22t116-22l-76-178 10-92-20-6-30 46-30-46z"'
        ' fill="$m"/><path d="M200 182h80l8 18h-96z" fill="$a"/>'
        '<path d="M124 360q52 22 116 22t116-22l-10-24q-50 20-106 20t-106-20z" fill="$l"/>'
        '<path d="M214 214l-26 130M266 214l26 130M240 214v142" stroke="$d" stroke-width="5"/>'
    ),
    "scarf": (
        '<path d="M240 214l82-18 40 168-78 16z" fill="$d"/><path d="M154 204l84 10-22 166-84-12z"'
        ' fill="$l"/><path d="M118 176q-8-62 122-76 130 14 122 76-10 62-122 62t-122-62z"'
        ' fill="$m"/><path d="M160 160q0-26 80-30 80 4 80 30-20 26-80 26t-80-26z" fill="$d"/>'
        '<path d="M128 204q40 22 112 20 72 2 112-20" stroke="$l" stroke-width="6" fill="none"/>'
        '<path d="M142 318l82 11-3 20-82-11zM272 332l80-16 5 20-80 16z" fill="$a"/>'
        '<path d="M137 354l82 11-1 8-82-11zM283 368l79-16 2 8-79 16z" fill="$w"/>'
    ),
    "cap": (
        '<path d="M104 300q0-150 136-150 122 0 136 142-70-22-136-4-70 16-136 12z" fill="$m"/>'
        '<path d="M240 288q110-24 190 34 8 14-10 16-90 6-160-14-90-20-156-24 70 6 136-12z"'
        ' fill="$d"/><path d="M240 150q-44 56-32 144M240 150q62 40 62 130" stroke="$l"'
        ' stroke-width="6" fill="none"/><circle cx="240" cy="150" r="13" fill="$a"/>'
    ),
    "backpack": (
        f'<path d="M192 116q0-44 48-44t48 44" stroke="$d" stroke-width="16" {_ROUND}/>'
        '<path d="M128 220q0-116 112-116t112 116v130q0 30-30 30H158q-30 0-30-30z" fill="$m"/>'
        '<rect x="98" y="246" width="36" height="104" rx="16" fill="$d"/>'
        '<rect x="346" y="246" width="36" height="104" rx="16" fill="$d"/>'
        '<path d="M158 262h164v92q0 16-16 16H174q-16 0-16-16z" fill="$l"/>'
        '<path d="M158 262h164v34H158z" fill="$d"/><path d="M160 182q80-46 160 0" stroke="$d"'
        ' stroke-width="7" fill="none"/><rect x="228" y="280" width="24" height="40" rx="8"'
        ' fill="$a"/><rect x="212" y="196" width="56" height="36" rx="8" fill="$a"/>'
    ),
    "handbag": (
        f'<path d="M168 208q0-112 72-112t72 112" stroke="$d" stroke-width="15" {_ROUND}/>'
        '<path d="M116 196h248l28 166q2 18-16 18H104q-18 0-16-18z" fill="$m"/>'
        '<path d="M116 196h248l10 60q-134 66-268 0z" fill="$l"/><path d="M106 256q134 66 268 0"'
        ' stroke="$d" stroke-width="5" fill="none"/><rect x="216" y="264" width="48" height="46"'
        ' rx="10" fill="$a"/><path d="M90 350h300l2 14q0 16-16 16H104q-18 0-16-18z" fill="$d"/>'
    ),
    "suitcase": (
        f'<path d="M204 124V84h72v40" stroke="$n" stroke-width="12" {_ROUND}/>'
        '<rect x="126" y="120" width="228" height="240" rx="30" fill="$m"/>'
        '<path d="M172 142v196M217 142v196M263 142v196M308 142v196" stroke="$d" stroke-width="8"'
        ' stroke-linecap="round"/><rect x="126" y="222" width="228" height="24" fill="$l"/>'
        '<rect x="222" y="214" width="36" height="40" rx="8" fill="$a"/>'
        '<circle cx="166" cy="368" r="14" fill="$n"/><circle cx="314" cy="368" r="14" fill="$n"/>'
    ),
    "watch": (
        '<path d="M192 60h96l10 100H182zM182 320h116l-10 100h-96z" fill="$m"/>'
        '<path d="M192 60h96l2 22H190zM190 398h100l-2 22h-96z" fill="$d"/>'
        '<rect x="344" y="226" width="22" height="28" rx="6" fill="$n"/>'
        '<circle cx="240" cy="240" r="108" fill="$n"/><circle cx="240" cy="240" r="90" fill="$w"/>'
        '<path d="M240 162v14M240 304v14M162 240h14M304 240h14" stroke="$d" stroke-width="8"'
        ' stroke-linecap="round"/>'
        f'<path d="M240 240v-56M240 240l40 26" stroke="$n" stroke-width="10" {_ROUND}/>'
        '<circle cx="240" cy="240" r="10" fill="$a"/>'
    ),
    "glasses": (
        '<path d="M66 206l34-38M414 206l-34-38" stroke="$d" stroke-width="14"'
        ' stroke-linecap="round"/><rect x="64" y="192" width="150" height="124" rx="54" fill="$n"/>'
        '<rect x="266" y="192" width="150" height="124" rx="54" fill="$n"/>'
        '<rect x="80" y="208" width="118" height="92" rx="42" fill="$m"/>'
        '<rect x="282" y="208" width="118" height="92" rx="42" fill="$m"/>'
        '<path d="M212 232q28-26 56 0" stroke="$n" stroke-width="14" fill="none"/>'
        f'<path d="M104 262l34-36M306 262l34-36M132 272l24-26M334 272l24-26" stroke="$l"'
        f' stroke-width="9" {_ROUND}/>'
    ),
    "jewel": (
        '<circle cx="240" cy="288" r="88" fill="none" stroke="$a" stroke-width="24"/>'
        '<circle cx="240" cy="288" r="80" fill="none" stroke="$w" stroke-width="4" opacity=".7"/>'
        '<path d="M174 122l30-38h72l30 38-66 84z" fill="$m"/><path d="M204 84l36 38 36-38z"'
        ' fill="$w"/><path d="M174 122h66l-36-38zM306 122h-66v84z" fill="$l"/>'
        '<path d="M240 122l-66 0 66 84z" fill="$d"/>'
        '<path d="M356 110v36M338 128h36M116 196v28M102 210h28" stroke="$a" stroke-width="7"'
        ' stroke-linecap="round"/>'
    ),
}

ELECTRONICS = {
    "laptop": (
        '<path d="M122 122q0-16 16-16h204q16 0 16 16v186H122z" fill="$n"/>'
        '<path d="M138 122h204v170H138z" fill="$m"/><path d="M138 292l104-170h100v170z" fill="$l"'
        ' opacity=".55"/><circle cx="194" cy="182" r="26" fill="$a"/>'
        '<path d="M138 292l60-66 44 40 40-52 60 78z" fill="$d"/>'
        '<path d="M72 308h336l18 46q2 20-18 20H72q-20 0-18-20z" fill="$w"/>'
        '<path d="M54 354h372q2 20-18 20H72q-20 0-18-20z" fill="$d"/>'
        '<path d="M112 322h256l6 16H106z" fill="$n" opacity=".45"/><rect x="200" y="343" width="80"'
        ' height="8" rx="4" fill="$d"/>'
    ),
    "phone": (
        '<rect x="148" y="76" width="184" height="304" rx="32" fill="$n"/>'
        '<rect x="160" y="88" width="160" height="280" rx="22" fill="$m"/>'
        '<path d="M160 250q80-60 160 0v96q0 22-22 22H182q-22 0-22-22z" fill="$d"/>'
        '<circle cx="268" cy="182" r="34" fill="$a"/><rect x="212" y="98" width="56" height="14"'
        ' rx="7" fill="$n"/><path d="M160 250q80-60 160 0v22q-80-50-160 0z" fill="$l"/>'
        '<rect x="206" y="350" width="68" height="7" rx="3" fill="$w"/>'
    ),
    "tablet": (
        '<rect x="112" y="78" width="256" height="302" rx="26" fill="$n"/>'
        '<rect x="130" y="98" width="220" height="262" rx="10" fill="$m"/>'
        '<path d="M130 270l70-70 60 56 50-40 40 44v90q0 10-10 10H140q-10 0-10-10z" fill="$d"/>'
        '<circle cx="296" cy="154" r="30" fill="$a"/><path d="M130 310q110-50 220 0v40q0 10-10 10'
        'H140q-10 0-10-10z" fill="$l"/>'
        '<path d="M388 110l14 8-10 190-10 24-6-26z" fill="$w"/>'
    ),
    "screen": (
        '<rect x="54" y="104" width="372" height="224" rx="16" fill="$n"/>'
        '<rect x="68" y="118" width="344" height="196" rx="6" fill="$m"/>'
        '<path d="M68 250l90-70 70 60 60-44 124 90v22q0 6-6 6H74q-6 0-6-6z" fill="$d"/>'
        '<circle cx="326" cy="168" r="28" fill="$a"/><path d="M68 290q170-60 344 0v18q0 6-6 6H74'
        'q-6 0-6-6z" fill="$l"/><path d="M222 328h36l6 36h56v16H160v-16h56z" fill="$n"/>'
    ),
    "camera": (
        '<path d="M176 142l20-36h88l20 36z" fill="$d"/>'
        '<rect x="78" y="140" width="324" height="226" rx="30" fill="$m"/>'
        '<path d="M78 196h324v110H78z" fill="$d"/><circle cx="240" cy="250" r="92" fill="$w"/>'
        '<circle cx="240" cy="250" r="76" fill="$n"/><circle cx="240" cy="250" r="48" fill="$m"/>'
        '<circle cx="240" cy="250" r="24" fill="$n"/><circle cx="262" cy="228" r="14" fill="$w"/>'
        '<rect x="104" y="158" width="46" height="22" rx="8" fill="$a"/>'
        '<circle cx="364" cy="168" r="14" fill="$l"/>'
    ),
    "headphones": (
        f'<path d="M108 286v-38q0-142 132-142t132 142v38" stroke="$m" stroke-width="26" {_ROUND}/>'
        f'<path d="M150 162q34-42 90-42t90 42" stroke="$l" stroke-width="9" {_ROUND}/>'
        '<rect x="84" y="252" width="76" height="126" rx="34" fill="$d"/>'
        '<rect x="320" y="252" width="76" height="126" rx="34" fill="$d"/>'
        '<rect x="136" y="244" width="34" height="142" rx="17" fill="$n"/>'
        '<rect x="310" y="244" width="34" height="142" rx="17" fill="$n"/>'
        '<circle cx="108" cy="315" r="12" fill="$a"/><circle cx="372" cy="315" r="12" fill="$a"/>'
    ),
    "earbuds": (
        '<path d="M118 292h244v30q0 58-58 58H176q-58 0-58-58z" fill="$m"/>'
        '<path d="M118 278q0-10 10-10h224q10 0 10 10v18H118z" fill="$d"/>'
        '<rect x="220" y="316" width="40" height="10" rx="5" fill="$a"/>'
        '<path d="M140 118q44-30 70 12 12 30-16 46v72q0 14-15 14t-15-14v-68q-40-14-24-62z"'
        ' fill="$w"/><path d="M340 118q-44-30-70 12-12 30 16 46v72q0 14 15 14t15-14v-68q40-14 24'
        '-62z" fill="$w"/><ellipse cx="154" cy="142" rx="11" ry="18" fill="$l"/>'
        '<ellipse cx="326" cy="142" rx="11" ry="18" fill="$l"/>'
    ),
    "speaker": (
        '<rect x="142" y="80" width="196" height="300" rx="34" fill="$m"/>'
        '<rect x="158" y="96" width="164" height="268" rx="22" fill="$d"/>'
        '<circle cx="240" cy="158" r="40" fill="$n"/><circle cx="240" cy="158" r="18" fill="$l"/>'
        '<circle cx="240" cy="276" r="70" fill="$n"/><circle cx="240" cy="276" r="50" fill="$m"/>'
        '<circle cx="240" cy="276" r="22" fill="$l"/><circle cx="296" cy="112" r="7" fill="$a"/>'
    ),
    "keyboard": (
        '<rect x="50" y="180" width="380" height="170" rx="24" fill="$m"/>'
        '<rect x="50" y="316" width="380" height="40" rx="20" fill="$d"/>'
        '<path d="M76 220h328M76 260h328" stroke="$w" stroke-width="30" stroke-dasharray="30 12"/>'
        '<path d="M76 300h62M342 300h62" stroke="$l" stroke-width="30"/>'
        '<path d="M150 300h180" stroke="$w" stroke-width="30"/>'
        '<path d="M76 220h30M374 260h30" stroke="$a" stroke-width="30"/>'
    ),
    "gamepad": (
        '<path d="M150 150h180q62 0 84 92 22 100-18 116-34 10-76-58H160q-42 68-76 58-40-16-18-116'
        ' 22-92 84-92z" fill="$m"/><path d="M150 150h180q40 0 64 42H86q24-42 64-42z" fill="$l"/>'
        '<path d="M146 206h24v26h26v24h-26v26h-24v-26h-26v-24h26z" fill="$n"/>'
        '<circle cx="322" cy="216" r="13" fill="$a"/><circle cx="322" cy="272" r="13" fill="$w"/>'
        '<circle cx="294" cy="244" r="13" fill="$n"/><circle cx="350" cy="244" r="13" fill="$d"/>'
    ),
}

HOUSE = {
    "mug": (
        f'<path d="M318 190h30q50 0 50 56t-50 56h-34" stroke="$d" stroke-width="24" {_ROUND}/>'
        '<path d="M118 150h206v186q0 44-44 44H162q-44 0-44-44z" fill="$m"/>'
        '<ellipse cx="221" cy="150" rx="103" ry="24" fill="$l"/>'
        '<ellipse cx="221" cy="153" rx="84" ry="16" fill="$n"/>'
        '<path d="M118 232h206v52H118z" fill="$a"/><path d="M118 292h206v9H118z" fill="$w"/>'
        f'<path d="M190 118q-14-20 0-38t0-36M250 118q-14-20 0-38t0-36" stroke="$w"'
        f' stroke-width="9" {_ROUND}/>'
    ),
    "bowl": (
        '<path d="M84 216h312q0 110-84 150H168q-84-40-84-150z" fill="$m"/>'
        '<ellipse cx="240" cy="216" rx="156" ry="34" fill="$l"/>'
        '<ellipse cx="240" cy="220" rx="132" ry="24" fill="$d"/>'
        '<path d="M94 270q146 50 292 0-4 14-10 26-136 44-272 0-6-12-10-26z" fill="$a"/>'
        '<path d="M176 364h128v16H176z" fill="$d"/>'
    ),
    "pan": (
        '<path d="M52 236h262v70q0 54-54 54H106q-54 0-54-54z" fill="$m"/>'
        '<rect x="38" y="216" width="290" height="30" rx="15" fill="$d"/>'
        '<path d="M318 240h110q18 0 18 16t-18 16H318z" fill="$n"/>'
        '<path d="M70 216q10-66 113-66t113 66z" fill="$l"/>'
        '<circle cx="183" cy="140" r="20" fill="$a"/><path d="M84 276v28q0 28 26 28" stroke="$l"'
        f' stroke-width="10" {_ROUND}/>'
    ),
    "kettle": (
        f'<path d="M150 170q0-92 90-92t90 92" stroke="$n" stroke-width="16" {_ROUND}/>'
        '<path d="M338 236l66-56 14 16-62 110z" fill="$d"/>'
        '<path d="M146 180h188l38 156q4 44-40 44H148q-44 0-40-44z" fill="$m"/>'
        '<path d="M176 166h128l30 30H146z" fill="$l"/><rect x="222" y="144" width="36" height="24"'
        ' rx="10" fill="$a"/><path d="M108 336q132 34 264 0 4 44-40 44H148q-44 0-40-44z"'
        f' fill="$d"/><path d="M164 222l-16 86" stroke="$l" stroke-width="12" {_ROUND}/>'
    ),
    "blender": (
        '<path d="M164 108h152l-22 168H186z" fill="$w" opacity=".9"/>'
        '<path d="M174 180q66 26 132 0l-12 96H186z" fill="$a"/>'
        '<path d="M158 84h164v28H158z" fill="$d"/><rect x="214" y="64" width="52" height="22" rx="8"'
        f' fill="$n"/><path d="M312 130h46v94h-54" stroke="$d" stroke-width="15" {_ROUND}/>'
        '<path d="M178 276h124l30 86q4 18-14 18H162q-18 0-14-18z" fill="$m"/>'
        '<circle cx="240" cy="332" r="22" fill="$w"/><path d="M240 332v-16" stroke="$n"'
        ' stroke-width="7"/>'
    ),
    "knife": (
        '<rect x="70" y="336" width="340" height="44" rx="14" fill="$d"/><path d="M92 352h296"'
        ' stroke="$l" stroke-width="6" stroke-linecap="round"/><g transform="rotate(-14 240 240)">'
        '<path d="M296 176v112H206Q100 288 44 196q-10-20 14-20z" fill="$w"/>'
        '<path d="M296 252v36H206Q100 288 44 196q60 56 162 56z" fill="$l"/>'
        '<rect x="292" y="172" width="24" height="72" rx="5" fill="$a"/>'
        '<path d="M314 176h104q24 0 24 24 0 40-24 40H314z" fill="$m"/><circle cx="344" cy="208"'
        ' r="8" fill="$w"/><circle cx="380" cy="208" r="8" fill="$w"/><circle cx="416" cy="208"'
        ' r="8" fill="$w"/></g>'
    ),
    "lamp": (
        '<path d="M174 84h132l58 136H116z" fill="$m"/><path d="M174 84h34l-34 136h-58z" fill="$l"/>'
        '<path d="M116 220h248l6 14H110z" fill="$d"/><path d="M232 234h16v120h-16z" fill="$n"/>'
        '<path d="M110 234h260l50 146H60z" fill="$w" opacity=".35"/>'
        '<path d="M164 380q0-30 76-30t76 30z" fill="$n"/><path d="M290 234v44" stroke="$a"'
        ' stroke-width="5"/><circle cx="290" cy="284" r="9" fill="$a"/>'
    ),
    "candle": (
        '<path d="M240 74q42 48 18 84-18 16-36 0-24-36 18-84z" fill="$a"/>'
        '<path d="M240 112q18 24 8 42-8 8-16 0-10-18 8-42z" fill="$w"/>'
        '<path d="M240 158v34" stroke="$n" stroke-width="7"/>'
        '<path d="M150 190h180v160q0 30-30 30H180q-30 0-30-30z" fill="$m"/>'
        '<ellipse cx="240" cy="190" rx="90" ry="20" fill="$l"/>'
        '<rect x="182" y="246" width="116" height="80" rx="10" fill="$w"/>'
        '<path d="M204 274h72M216 298h48" stroke="$d" stroke-width="8" stroke-linecap="round"/>'
    ),
    "cushion": (
        '<path d="M104 118q136 34 272 0 18 0 14 18-32 112 0 224 4 20-14 20-136-34-272 0-18 0-14-20'
        ' 32-112 0-224-4-18 14-18z" fill="$m"/><path d="M140 152q100 20 200 0 6 0 4 8-20 88 0 178'
        ' 2 8-4 8-100-20-200 0-6 0-4-8 20-90 0-178-2-8 4-8z" fill="none" stroke="$l"'
        ' stroke-width="7" stroke-dasharray="16 12"/><path d="M240 186l52 63-52 63-52-63z"'
        ' fill="$a"/><path d="M240 216l28 33-28 33-28-33z" fill="$d"/>'
    ),
    "rug": (
        '<rect x="92" y="108" width="296" height="264" rx="8" fill="$m"/>'
        '<rect x="116" y="132" width="248" height="216" fill="none" stroke="$l" stroke-width="9"/>'
        '<path d="M240 152l72 88-72 88-72-88z" fill="$d"/><path d="M240 190l40 50-40 50-40-50z"'
        ' fill="$a"/><circle cx="152" cy="168" r="12" fill="$a"/><circle cx="328" cy="168" r="12"'
        ' fill="$a"/><circle cx="152" cy="312" r="12" fill="$a"/><circle cx="328" cy="312" r="12"'
        ' fill="$a"/><path d="M92 100h296M92 380h296" stroke="$w" stroke-width="14"'
        ' stroke-dasharray="8 8"/>'
    ),
    "plant": (
        '<path d="M236 290q-10-110-96-130-16 86 96 130zM244 290q6-120 104-140 12 100-104 140z'
        'M240 280q-60-100 0-196 60 96 0 196z" fill="#4f9d69"/>'
        '<path d="M240 280V120M236 288q-30-70-72-104M244 288q36-80 80-112" stroke="#2f6f4a"'
        f' stroke-width="6" {_ROUND}/><path d="M152 284h176l-20 82q-4 14-18 14H190q-14 0-18-14z"'
        ' fill="$m"/><rect x="142" y="270" width="196" height="36" rx="10" fill="$d"/>'
        '<path d="M166 336h148l-4 14H170z" fill="$a"/>'
    ),
    "sofa": (
        '<path d="M96 220q0-66 66-66h156q66 0 66 66v80H96z" fill="$m"/>'
        '<path d="M240 158v92" stroke="$d" stroke-width="6"/>'
        '<path d="M106 268h268v74H106z" fill="$l"/><path d="M240 270v70M106 342h268" stroke="$d"'
        ' stroke-width="6"/><rect x="52" y="214" width="66" height="140" rx="30" fill="$d"/>'
        '<rect x="362" y="214" width="66" height="140" rx="30" fill="$d"/>'
        '<path d="M84 350h18l-4 30H84zM378 350h18v30h-14z" fill="$n"/>'
        '<path d="M142 204l58-10 12 66-60 10z" fill="$a"/>'
    ),
    "chair": (
        '<path d="M154 92q86-28 172 0l-14 146H168z" fill="$m"/><path d="M178 112q62-18 124 0l-8 84'
        'H186z" fill="$l"/><path d="M138 236h204q16 0 16 24t-16 24H138q-16 0-16-24t16-24z"'
        ' fill="$d"/><path d="M146 284h24l-24 96h-22zM334 284h-24l24 96h22z" fill="$n"/>'
        '<path d="M152 336h176" stroke="$n" stroke-width="9"/><path d="M138 236h204q12 0 15 14H123'
        'q3-14 15-14z" fill="$a"/>'
    ),
    "table": (
        '<path d="M96 196h288l34 34H62z" fill="$l"/><rect x="62" y="230" width="356" height="26"'
        ' rx="6" fill="$m"/><path d="M88 256h24l-8 124H90zM392 256h-24l8 124h14z" fill="$d"/>'
        '<rect x="150" y="256" width="180" height="42" fill="$d"/><circle cx="240" cy="277" r="8"'
        ' fill="$a"/><path d="M196 204q-6-50 24-60 30 10 24 60z" fill="$a"/>'
        '<path d="M220 146q-22-40-46-42M222 146q10-46 38-54" stroke="#4f9d69" stroke-width="8"'
        f' {_ROUND}/><circle cx="172" cy="104" r="12" fill="$w"/><circle cx="262" cy="90" r="12"'
        ' fill="$w"/>'
    ),
    "shelf": (
        '<rect x="116" y="80" width="248" height="300" rx="8" fill="$d"/>'
        '<path d="M134 98h212v76H134zM134 192h212v76H134zM134 286h212v76H134z" fill="$l"/>'
        '<path d="M148 116h18v58h-18zM170 108h20v66h-20zM232 268v-60h20v60zM256 268v-48h18v48z"'
        ' fill="$m"/><path d="M194 122h18v52h-18zM278 268v-66h22v66z" fill="$a"/>'
        '<path d="M280 174q-10-40 20-50 30 10 20 50zM150 268q0-36 26-36t26 36z" fill="$w"/>'
        '<rect x="150" y="310" width="84" height="52" fill="$m"/><rect x="250" y="322" width="80"'
        ' height="40" fill="$a"/>'
    ),
    "bed": (
        '<path d="M74 140q0-20 20-20h292q20 0 20 20v150H74z" fill="$d"/>'
        '<rect x="106" y="188" width="124" height="72" rx="22" fill="$w"/>'
        '<rect x="250" y="188" width="124" height="72" rx="22" fill="$w"/>'
        '<path d="M62 250q0-14 14-14h328q14 0 14 14v96H62z" fill="$m"/>'
        '<path d="M62 236h356v44q-178 30-356 0z" fill="$l"/><rect x="52" y="330" width="376"'
        ' height="26" rx="8" fill="$n"/><path d="M70 356h22v24H70zM388 356h22v24h-22z" fill="$n"/>'
        '<path d="M62 304h356v12H62z" fill="$a"/>'
    ),
}
