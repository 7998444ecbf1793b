"""Contrast of two colors after WCAG."""


def luminance(red: float, green: float, blue: float) -> float:
    """Relative luminance of an sRGB color, each part 0 to 1."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
