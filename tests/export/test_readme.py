"""The README's first Python example runs as it stands, on a tiny pack instead of the real one.

The second, on images, is run by tests/runtime/test_encode_image.py.
"""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_example_runs(tiny_pack, capsys):
    code, _ = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert '"v5-small"' in code
    assert "truncate_dim=256" in code
    code = code.replace('"v5-small"', repr(str(tiny_pack)))
    code = code.replace("truncate_dim=256", "truncate_dim=32")  # a tiny vector has 64 numbers
    values: dict[str, object] = {}
    exec(code, values)
    assert values["vectors"].shape == (2, 32)
    assert values["bits"].shape == (1, 8)
    assert "[[" in capsys.readouterr().out
