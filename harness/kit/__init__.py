"""Kits: one zip that replays a run elsewhere and is safe to attach to a public issue.

``making`` redacts a run and writes the kit, ``reading`` opens one that a stranger sent, ``rules`` say what is private,
``redaction`` replaces it by ``pseudonyms``, ``archive`` is the zip file and nothing else.

How the event hash survives redaction
    A hash over texts changes with the texts, so nothing is redacted *behind* the hash. The scenario is redacted first;
    then the run is made again from it, with the choices of the tape. History, verdict and page of a kit are of that
    second run, and the hash is its hash: whoever replays the kit computes the same one. A scenario that comes with
    Lockjaw is public, is left as it is, and keeps the very hash of the run. The kit never holds a hash of what was
    there before: a short text or a phone number could be guessed from it.
"""
