"""Reports: what a run came to, for people (text, HTML, Markdown) and for machines (JSON, JUnit, Chrome trace).

All of them lay out the same view (``view.py``) of runs (``lockjaw.history.run``), and read nothing else.
"""
