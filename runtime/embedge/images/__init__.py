"""Images to pixels: what the caller gave -> an image -> the square that an image tower takes.

    sources    paths, bytes, data URIs, URLs, PIL images and arrays, opened and checked
    urls       http(s), within bounds of time and size
    pixels     resize, crop, normalise: to the pixel what the model's own code does
    samples    images that every machine can make, to check a tower with
    pipeline   many of them, decoded on a few threads while the network runs

Pillow (`pip install "embedge[image]"`) is imported when the first image is opened.
"""
