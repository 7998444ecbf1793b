"""The HTTP server of `embedge serve`: several clients' protocols, one queue of work for each pack.

    a request ─▶ app        limits, keys, deadlines                          `Ask`
              ─▶ dialects/  its JSON, decoded and checked                    `Work`
              ─▶ service    admission
              ─▶ preparing  texts to ids, images to squares; the long off the event loop
              ─▶ queue      the ids of many requests share runs              float32 (n, D)
              ─▶ service    cut and normalized                               `Done`
              ─▶ dialects/  written as its JSON                              `Answer`

Whatever goes wrong on the way is a `Refusal` of a `Kind`, which the dialect writes in its own form.
A dialect knows JSON and `Work`; it knows neither packs' files, nor queues, nor threads. `run`,
`connections` and `guard` alone know uvicorn. Importing this room needs the extra `server`.
"""
