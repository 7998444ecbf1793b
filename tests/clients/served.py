"""What the server of these tests has, and what its clients send."""

KEY = "a-key-of-the-tests"
MODEL = "embedge-mini"
TEXTS = ["What is a vaccine?", "Ein Zug fährt nach Hamburg.", "def mean(x): return sum(x) / len(x)"]
