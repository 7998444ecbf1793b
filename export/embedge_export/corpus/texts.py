"""The built-in texts: those that every export is gated on, and those that integers are fitted to.

Written for this purpose; they hold what hurts: one word, numbers, code, symbols, rare scripts,
repetition, and passages long enough for attention and rotary positions to matter. The two sets
share no text, so the gate sees how a graph does on what it was not fitted to.
"""

SHORT_TEXTS: tuple[str, ...] = (
    "sunset",
    "How do vaccines train the immune system?",
    "Invoice 2024-0173: 1,299.00 EUR, due within 30 days.",
    "def mean(values):\n    return sum(values) / len(values)",
    "Ein Zug fährt jeden Morgen um sieben Uhr nach Hamburg.",
    "Le boulanger ouvre sa boutique avant l'aube.",
    "La ballena azul es el animal más grande de la Tierra.",
    "O mar estava calmo e o vento soprava do norte.",
    "Поезд опоздал на сорок минут из-за снега.",
    "春になると、川沿いの桜が一斉に咲く。",
    "这本书介绍了量子计算的基本原理。",
    "도서관은 저녁 아홉 시에 문을 닫습니다.",
    "تشرق الشمس فوق الصحراء وتغيب خلف الجبال.",
    "नदी के किनारे एक पुराना मंदिर है।",
    "İstanbul'da kış ayları yağmurlu geçer.",  # noqa: RUF001
    "Αύριο θα πάμε στη θάλασσα με τα παιδιά.",
    "SELECT name, price FROM products WHERE stock > 0 ORDER BY price;",
    "!!! ??? ... ### 🙂🚀",
    "the the the the the the the the the the the the the the the the",
    "3.14159 2.71828 1.41421 0.57721 6.02214e23 -273.15",
    "the the ",  # some decoders waver here between two places to rest their attention on
)

LONG_TEXTS: tuple[str, ...] = (
    (
        "Rivers shape the land by carrying small grains of rock from the mountains to the sea. "
        "In their upper course they are quick and narrow, and they cut deep valleys. Lower down "
        "they slow, turn from side to side, and lay down the sand and clay that they no longer "
        "can carry; after a flood a thin layer of fertile mud remains on the fields. People have "
        "settled along rivers for thousands of years, for water, for food, and because a boat "
        "moves a load that no cart could. Dams now hold many of them back. They store water for "
        "the dry months and give electric power, but they also stop the grains on their way, so "
        "that the coast below, which lived on them, begins to shrink."
    ),
    (
        "Die Geschichte der Uhr ist eine Geschichte der Reibung. Frühe Räderuhren gingen am Tag "
        "eine Viertelstunde falsch; erst das Pendel brachte sie auf wenige Sekunden. Auf See half "
        "es nicht, denn ein Schiff schwankt. Dort löste eine Feder mit einer Unruh die Aufgabe, "
        "und wer die Zeit des Heimathafens bei sich trug, konnte aus dem Stand der Sonne seine "
        "Länge berechnen. 天气 temperature 温度 23 °C; x = (a + b) / 2; см. стр. 14; voir page 7."
    ),
)

CALIBRATION_TEXTS: tuple[str, ...] = (
    "garden",
    "What does a heat pump do in winter?",
    "cheap flights to Lisbon in October",
    "The committee postponed its decision because two of the reports had not been checked.",
    "Order 88213 was shipped on 3 May 2023; 14 items, 2.7 kg, total 418.55 USD.",
    "for key, value in sorted(table.items()):\n    print(f'{key}: {value:.3f}')",
    '#include <stdio.h>\nint main(void) { printf("%d\\n", 6 * 7); return 0; }',
    "UPDATE accounts SET balance = balance - 20 WHERE id = 7;",
    '{"name": "sensor-4", "values": [0.25, 17, null], "ok": true}',
    '<p class="note">Opening hours: <b>9 to 17</b></p>',
    "git rebase --interactive HEAD~3 && make test",
    "https://example.org/path/to/page?id=42&lang=en#part-2",
    "8 x 7 = 56; 1/3 = 0.333...; sqrt(2) = 1.4142; 10^9; -40 C; 0xFF",
    "(a) ... [b] --- {c}; *** ??? !!! @@ ## $$ %% ^^ && ~~",
    "no no no no no no no no no no no no",
    "Die Brücke wurde im Herbst gesperrt, weil ein Pfeiler nachgab.",
    "Le musée rouvrira ses portes au printemps après deux ans de travaux.",
    "El médico le recomendó caminar media hora cada día.",
    "A biblioteca empresta livros por três semanas.",
    "Il treno per Bologna parte dal binario sei.",
    "De dijk beschermt het land tegen hoog water.",
    "Zamek stoi na wzgórzu nad rzeką.",
    "Кошка спит на подоконнике, пока идёт дождь.",
    "Вчені виявили новий вид метеликів.",
    "明日の会議は午後三時に変更されました。",
    "新しい駅の近くに小さな本屋がある。",
    "医生建议他每天早睡早起,多喝水。",
    "高铁把两座城市之间的时间缩短到一个小时。",
    "주말에는 가족과 함께 산에 올랐다.",
    "المكتبة مفتوحة كل يوم ما عدا يوم الجمعة.",
    "הספר מונח על השולחן ליד החלון.",
    "बाज़ार में ताज़े फल और सब्ज़ियाँ मिलती हैं।",
    "আজ সকালে নদীতে অনেক নৌকা ছিল।",
    "วันนี้อากาศร้อนมากและไม่มีลม",
    "Chuyến bay bị hoãn hai giờ vì sương mù.",
    "Yarın sabah erkenden yola çıkacağız.",  # noqa: RUF001
    "Το πλοίο φεύγει από τον Πειραιά στις οκτώ.",  # noqa: RUF001
    "Kapal itu membawa beras dan kopi ke pelabuhan.",
    (
        "Bread needs four things: flour, water, salt and time. Yeast turns sugar into gas, and the "
        "gas is held by the net of gluten that kneading builds. A slow, cool rise gives the dough "
        "its taste, because acids form that a quick one has no time for. In the oven the outside "
        "dries and browns while the crumb inside sets at some ninety-five degrees; a loaf that "
        "sounds hollow when it is knocked on is done. Left to cool on a rack it loses the last of "
        "its steam, and only then does it cut well."
    ),
    (
        "A queue of messages lets two programs work at their own speed. The first writes what it "
        "has to say and goes on; the second reads when it has time. If the reader fails, nothing "
        "is lost as long as each message stays until it is confirmed. The price is that a message "
        "may come twice, so whoever reads must be able to see one again without harm: by a number "
        "that is remembered, or by an action that gives the same result when it is repeated."
    ),
    (
        "Au dix-neuvième siècle, les observatoires se sont éloignés des villes. La fumée et la "
        "lumière du gaz gênaient les lunettes, et l'air des montagnes était plus calme. Les plus "
        "grands télescopes se trouvent dans le désert d'Atacama, à plus de deux mille mètres, où "
        "il ne pleut presque jamais."
    ),
    (
        "def merge(left, right):\n    result = []\n    while left and right:\n"
        "        source = left if left[0] <= right[0] else right\n"
        "        result.append(source.pop(0))\n    return result + left + right\n\n"
        "class Stack:\n    def __init__(self):\n        self._items = []\n\n"
        "    def push(self, item):\n        self._items.append(item)\n"
    ),
    (
        "Invoice 4471, 12 March. 3 chairs at 89.90, 1 table at 249.00, delivery 35.00; subtotal "
        "553.70, tax 19 % 105.20, total 658.90 EUR. Paid by transfer on 20 March, reference "
        "RF18 5390 0754 7034. Questions: +49 30 901820 or billing@example.com."
    ),
)
