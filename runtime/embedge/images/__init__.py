"""Images to pixels: what the caller gave -> an image -> the square that an image tower takes.

    sources      paths, bytes, data URIs, URLs, PIL images and arrays, opened and checked
    pillow       the library that opens them, held within bounds
    urls         http(s), within bounds of time and size
    costly       images that would take minutes to decode, found before they are
    png_chunks   PNG files without metadata that nothing needs
    pixels       resize, crop, normalize: to the pixel what the model's own code does
    pipeline     many of them, decoded on a few threads while the network runs
    gate_images  images that every machine can make, to check a tower with
    names        which files are images, by their suffix
    sheet        a contact sheet of search results

Pillow (`pip install "embedge[image]"`) is imported when the first image is opened.
"""
