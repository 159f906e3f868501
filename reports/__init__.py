"""Reports: what a run came to, for people (text, HTML, Markdown) and for machines (JSON, JUnit, Chrome trace).

All of them lay out the same view (``view.py``) of run documents and histories, and read nothing else.
"""
