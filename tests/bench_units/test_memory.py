"""What `make bench-memory` says of its readings."""

from bench.memory.run import combine, summary, table


def reading(peak: float, load: float, anonymous: float = 100.0) -> dict:
    memory = {"peak": peak, "resident": 400.0, "anonymous": anonymous, "file": 300.0}
    memory |= {"private": 350.0, "shared": 50.0, "proportional": 375.0}
    seconds = {"import": 0.1, "load": load, "first": 0.2, "start": load + 1}
    return {"memory": memory, **seconds}


def test_seconds_are_the_best_and_memory_is_of_the_median_peak():
    found = combine([reading(900, 3.0), reading(500, 2.0), reading(600, 4.0)])
    assert found["memory"]["peak"] == 600
    assert (found["load"], found["start"]) == (2.0, 3.0)


def test_table_and_summary():
    one = reading(600, 2.0) | {"files": 500.0}
    four = reading(1800, 5.0, anonymous=150.0) | {"files": 2000.0}
    lines = table({"one": one, "four": four}).splitlines()
    assert "| load, s | 2.00 | 5.00 |" in lines
    assert "| of it anonymous | 100 | 150 |" in lines
    assert "| peak resident / files | 1.20 | 0.90 |" in lines
    assert summary(one, four, 4, 1.9e9) == (
        "4 tasks hold 1.50 times the anonymous memory of one, and 1.00 times what one maps alone; "
        "the pack takes 1.90 GB on disk."
    )
