"""Small labelled sets, written by hand for this demo, for each of the four kinds of work.

    TOPICS      8 topics of 8 sentences              what belongs together?
    QUESTIONS   12 questions, each with its answer   what answers this?
    PAIRS       16 pairs with a grade of 0 to 5      do these say the same?
    REVIEWS     opinions, good and bad               which label?

They are far too small to measure a model; models/README.md has figures on real sets.
"""

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

QUESTIONS = (
    (
        "What makes the sky look blue?",
        "Air scatters short wavelengths of sunlight more strongly than long ones.",
    ),
    (
        "How can I stop pests from eating my salad plants?",
        "A ring of copper tape around the bed keeps slugs and snails away.",
    ),
    (
        "Why does dough get bigger?",
        "Yeast feeds on sugar and gives off gas, which blows the bread up from inside.",
    ),
    (
        "When is a player sent off?",
        "Two yellow cards in one match count as a dismissal from the pitch.",
    ),
    (
        "What happens to someone's property if there is no will?",
        "Without a testament, the next of kin inherit in an order that statute lays down.",
    ),
    (
        "How long should I rest after a broken bone?",
        "A fractured arm usually heals within six to eight weeks in a cast.",
    ),
    (
        "Why is my program using more and more memory?",
        "Objects that are still referenced are never collected, so a growing cache is a leak.",
    ),
    (
        "Which documents do I need to go abroad?",
        "Outside the union, travellers must carry a passport and, for some countries, a visa.",
    ),
    (
        "How far away is the sun?",
        "Light needs a little over eight minutes from our own star to reach the Earth.",
    ),
    (
        "What is a good way to keep milk fresh?",
        "Store dairy products in the coldest part of the refrigerator.",
    ),
    (
        "How do whales breathe?",
        "Marine mammals come to the surface and take in air through a blowhole.",
    ),
    (
        "Who painted the Mona Lisa?",
        "Leonardo da Vinci worked on the famous portrait for many years.",
    ),
)

PAIRS = (
    (5.0, "A man is playing the guitar.", "Someone plays a guitar."),
    (5.0, "The shop is closed on Sundays.", "On Sundays the store does not open."),
    (4.5, "The child is asleep in the bed.", "A little girl sleeps in her bed."),
    (4.0, "The train was delayed by snow.", "Because of the winter weather the train came late."),
    (4.0, "She bought a used car.", "She purchased an old vehicle."),
    (3.5, "Prices rose sharply last year.", "Inflation was high."),
    (3.0, "A dog runs along the beach.", "A dog is running through a park."),
    (3.0, "He is cooking dinner for his friends.", "He is making a cake for his friends."),
    (2.5, "The company hired fifty people.", "The company dismissed fifty people."),
    (2.0, "A woman is riding a horse.", "A woman is feeding a horse."),
    (2.0, "The bridge was built of stone.", "The castle has stone walls."),
    (1.5, "The cat sits on the roof.", "The roof is being repaired."),
    (1.0, "Two boys play chess.", "Two boys swim in a lake."),
    (0.5, "The president gave a speech.", "The kettle is on the stove."),
    (0.0, "It rained all night.", "The contract runs for three years."),
    (0.0, "He broke his leg while skiing.", "This software is free of charge."),
)

# (good, bad): the first LEARNT of each are learnt from, the others are to be labelled.
REVIEWS = (
    (
        "The staff were kind and the room was spotless.",
        "Best headphones I have ever owned.",
        "A moving film with wonderful actors.",
        "The delivery was quick and everything was well packed.",
        "I loved every page of this book.",
        "The food was delicious and the waiter made us laugh.",
        "It works perfectly and was easy to set up.",
        "Great value for the price, I would buy it again.",
        "The concert was unforgettable.",
        "Such a comfortable chair, my back thanks me.",
        "The support team solved my problem within minutes.",
        "I would stay here again at once.",
        "A brilliant story, told with warmth and wit.",
        "The battery lasts for days, I am impressed.",
        "Our children had a fantastic time.",
        "The colours are beautiful and the fabric is soft.",
        "Finally a phone that does what it promises.",
        "The view alone is worth the trip.",
        "Friendly service and fair prices.",
        "This recipe never fails, everybody asks for more.",
    ),
    (
        "The parcel arrived late and the box was torn.",
        "After two days the battery no longer charges.",
        "A dull film, I almost fell asleep.",
        "The room smelled of smoke and nobody cared.",
        "The plot makes no sense and the ending is a joke.",
        "The soup was cold and the waiter was rude.",
        "It broke the first time I used it.",
        "Far too expensive for such poor quality.",
        "The sound was so bad that we left early.",
        "The chair wobbles and a screw was missing.",
        "Nobody answered my complaints for weeks.",
        "The zip broke on the first day.",
        "I regret that I spent money on this book.",
        "The screen froze again and again.",
        "Our holiday was ruined by the noise.",
        "The shirt shrank and lost its colour in the wash.",
        "The instructions are useless and the app keeps crashing.",
        "Dirty towels, and the shower did not work.",
        "We waited an hour and then got the wrong dish.",
        "A complete waste of time.",
    ),
)
LEARNT = 8
