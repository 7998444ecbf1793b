"""64 sentences on 8 topics, 8 each, written by hand for the map."""

TOPICS = {
    "astronomy": (
        "The telescope caught the faint glow of a distant galaxy.",
        "Jupiter's largest moon is bigger than the planet Mercury.",
        "A comet's tail always points away from the sun.",
        "Astronomers measured the light of a star that is about to explode.",
        "The probe sent back pictures of craters on the far side of the moon.",
        "A black hole bends the light that passes near it.",
        "Saturn's rings are made of ice and dust.",
        "Two neutron stars merged and shook space itself.",
    ),
    "cooking": (
        "Fry the onions slowly until they turn golden.",
        "Add a pinch of salt to the boiling water before the pasta.",
        "The bread needs to rise for an hour in a warm place.",
        "She whisked the eggs with sugar until they were pale.",
        "Let the soup simmer with bay leaves and a little garlic.",
        "Roast the vegetables in a hot oven with olive oil.",
        "A sharp knife makes it easier to slice tomatoes thinly.",
        "The sauce thickens when butter and flour are stirred in.",
    ),
    "football": (
        "The striker scored twice before half-time.",
        "The goalkeeper saved a penalty in the last minute.",
        "After three defeats in a row the coach was dismissed.",
        "The referee showed a red card for a late tackle.",
        "Fans sang in the stadium long after the final whistle.",
        "A header from the corner kick decided the match.",
        "The club signed a young midfielder on loan.",
        "The team needs a draw to stay in the league.",
    ),
    "gardening": (
        "Water the seedlings early in the morning.",
        "Prune the roses back to a healthy bud in late winter.",
        "Compost makes heavy soil looser and richer.",
        "Slugs ate the lettuce during the rainy night.",
        "Plant the tulip bulbs a hand's breadth deep in autumn.",
        "Mulch keeps weeds down and the beds moist.",
        "The apple tree is in full blossom at the end of the lawn.",
        "Sow the beans in rows when the last frost is over.",
    ),
    "law": (
        "The court dismissed the appeal for lack of evidence.",
        "Both parties signed the contract before a notary.",
        "The witness was questioned by the defence lawyer.",
        "A judge sentenced the man to two years in prison.",
        "The new statute comes into force in January.",
        "She sued her former employer for unfair dismissal.",
        "The jury could not agree on a verdict.",
        "Under the will, the estate passes to the eldest daughter.",
    ),
    "medicine": (
        "The patient was given antibiotics for the infection.",
        "High blood pressure raises the risk of a stroke.",
        "The surgeon removed the appendix through a small incision.",
        "A vaccine teaches the immune system to know a virus.",
        "The nurse took his temperature and pulse.",
        "An X-ray showed that the wrist was broken.",
        "Insulin helps people with diabetes to control their blood sugar.",
        "The doctor prescribed rest and a cough syrup.",
    ),
    "programming": (
        "The function returns a list instead of a string.",
        "A missing semicolon stopped the program from compiling.",
        "The loop never ends because the counter is not increased.",
        "She fixed the bug and pushed the commit to the repository.",
        "Unit tests run on every change to the source code.",
        "The server crashed when the array index was out of range.",
        "Variables in this language have no declared type.",
        "The database query is slow because the table has no index.",
    ),
    "travel": (
        "Our flight to Lisbon leaves at six in the morning.",
        "The hotel room had a view of the harbour.",
        "You need a valid passport to cross the border.",
        "We took the night train through the mountains.",
        "The guide led the tourists through the old town.",
        "Her suitcase was lost on the way to the airport.",
        "They booked a ferry to the island for the weekend.",
        "The hostel is a short walk from the central station.",
    ),
}


def topic_sentences() -> tuple[list[str], list[str]]:
    """All sentences, and the topic of each."""
    pairs = [(text, topic) for topic, texts in TOPICS.items() for text in texts]
    return [text for text, _ in pairs], [topic for _, topic in pairs]
