"""What the tests of the adapters embed."""

QUERY = "Which planet is red?"
TEXTS = ["Mars is called the Red Planet.", "Venus is hot.", "", "Ein Text auf Deutsch."]
