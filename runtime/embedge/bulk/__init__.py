"""Many texts or images, as a stream: records in, vectors out, in bounded memory."""
