"""The built-in texts that every export is gated on: many languages and scripts, short and long.

Written for this purpose; they hold what hurts: one word, numbers, code, symbols, rare scripts,
repetition, and passages long enough for attention and rotary positions to matter.
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
